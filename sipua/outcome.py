"""How calls end, and which ledger status each end has. One table; no I/O.

``status`` is one of the shared schema's seven words, ``reason`` is our snake_case detail (``voice_calls.outcome``
and the label of the metric). A caller who gives up before the answer is no_answer; never is a failed call
turned into a completed one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sipua.errors import RealtimeError, SipuaError


class Status(StrEnum):
    """voice_calls.status (CHECK list of the shared schema)."""

    INITIATED = "initiated"
    RINGING = "ringing"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    BUSY = "busy"
    NO_ANSWER = "no_answer"


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a call is over. ``sip_code`` is what the peer got (or sent); 0 where a BYE said it all."""

    status: Status
    reason: str
    detail: str = ""
    sip_code: int = 0


CALLER_HUNG_UP = Ending(Status.COMPLETED, "caller_hangup")
CALLEE_HUNG_UP = Ending(Status.COMPLETED, "callee_hangup")
CALLER_CANCELLED = Ending(Status.NO_ANSWER, "caller_cancelled", sip_code=487)
AGENT_HUNG_UP = Ending(Status.COMPLETED, "agent_hangup")
ANSWERING_MACHINE = Ending(Status.COMPLETED, "answering_machine")
MESSAGE_LEFT = Ending(Status.COMPLETED, "message_left")
TRANSFERRED = Ending(Status.COMPLETED, "transferred")
CALLER_LEFT = Ending(Status.COMPLETED, "caller_left")  # a chat
CALLER_SILENT = Ending(Status.COMPLETED, "caller_silent")
MAX_DURATION = Ending(Status.COMPLETED, "max_duration")
CLOSED = Ending(Status.COMPLETED, "closed")
SPEND_CAP = Ending(Status.COMPLETED, "spend_cap")
SHUTDOWN_RINGING = Ending(Status.FAILED, "agent_shutdown", sip_code=503)
SHUTDOWN = Ending(Status.COMPLETED, "agent_shutdown")
OPERATOR_HUNG_UP_RINGING = Ending(Status.FAILED, "operator_hangup", sip_code=603)
OPERATOR_HUNG_UP = Ending(Status.COMPLETED, "operator_hangup")

# Final responses to an INVITE (RFC 3261 section 21) → status and reason; the rest is failed/sip_<code>.
_BY_CODE = {
    408: (Status.NO_ANSWER, "no_answer"),
    480: (Status.NO_ANSWER, "temporarily_unavailable"),
    486: (Status.BUSY, "busy"),
    487: (Status.NO_ANSWER, "cancelled"),
    488: (Status.FAILED, "no_common_codec"),
    503: (Status.FAILED, "service_unavailable"),
    600: (Status.BUSY, "busy_everywhere"),
    603: (Status.FAILED, "declined"),
}


def ending_of_code(code: int, detail: str = "") -> Ending:
    """The end of a call that got this final response."""
    status, reason = _BY_CODE.get(code, (Status.FAILED, f"sip_{code}"))
    return Ending(status, reason, detail, code)


def ending_of_error(error: SipuaError, *, answered: bool) -> Ending:
    """The end of a call that an error ended; before the answer the caller gets 503 for it."""
    return Ending(Status.FAILED, error.reason, str(error), 0 if answered else 503)


def ending_of_disconnect(
    *, answered: bool, code: int, phrase: str, hung_up: Ending = CALLER_HUNG_UP, expired: bool = False
) -> Ending:
    """The end of a leg that the SIP layer reports as gone; ``hung_up`` if the far end said BYE."""
    if answered:
        if expired:
            return Ending(Status.FAILED, "session_expired", "nobody refreshed the session in time", code)
        # pjsua reports 200 for a BYE; anything else is a dialog that broke (408: BYE or re-INVITE unanswered)
        if code == 200:
            return hung_up
        return Ending(Status.FAILED, f"dialog_lost_{code}", phrase, code)
    if code == 487:
        return CALLER_CANCELLED
    return ending_of_code(code, phrase)


def is_voice_failure(error: SipuaError) -> bool:
    """Whether the voice service is to blame."""
    return isinstance(error, RealtimeError)
