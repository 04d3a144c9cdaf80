"""What an error of the voice service means for a call: one table.

Theory: the service keeps a session open after almost every ``error`` event, so the event alone does not say
whether the call can go on. The codes below come from OpenAI's guides and the issue trackers of other clients;
an unknown code is BENIGN, because the service closes the connection itself when it cannot continue.
"""

from __future__ import annotations

from enum import Enum


class Severity(Enum):
    """BENIGN: log and go on. RETRY_ONCE: the same request (or a new session) may work, once.

    FATAL_CALL: this call cannot go on as configured. FATAL_ACCOUNT: no call can; never retry, alert.
    """

    BENIGN = "benign"
    RETRY_ONCE = "retry_once"
    FATAL_CALL = "fatal_call"
    FATAL_ACCOUNT = "fatal_account"


SEVERITY_BY_CODE = {
    # races that every correct client runs into: the other side was faster
    "response_cancel_not_active": Severity.BENIGN,
    "conversation_already_has_active_response": Severity.BENIGN,
    "input_audio_buffer_commit_empty": Severity.BENIGN,
    "cannot_update_voice": Severity.BENIGN,
    # transient; session_expired is the 60-minute cap, the remedy is a new session
    "rate_limit_exceeded": Severity.RETRY_ONCE,
    "server_error": Severity.RETRY_ONCE,
    "internal_error": Severity.RETRY_ONCE,
    "session_expired": Severity.RETRY_ONCE,
    # somebody has to pay, mend the key, or change the software
    "invalid_api_key": Severity.FATAL_ACCOUNT,
    "insufficient_quota": Severity.FATAL_ACCOUNT,
    "account_deactivated": Severity.FATAL_ACCOUNT,
    "billing_hard_limit_reached": Severity.FATAL_ACCOUNT,
    "beta_api_shape_disabled": Severity.FATAL_ACCOUNT,
    "model_not_found": Severity.FATAL_ACCOUNT,
}
BENIGN_PREFIXES = ("item_truncate_",)
CONFIG_CODES = frozenset({"missing_required_parameter", "unknown_parameter", "invalid_value", "invalid_type"})
ALREADY_SHORTER = (
    "is already shorter than"  # "Audio content of X ms is already shorter than Y ms": no code of its own
)


def is_expected(code: str | None, message: str = "") -> bool:
    """Whether this is one of the known races; an unknown error is BENIGN too, but somebody should read it."""
    if code is not None and (
        SEVERITY_BY_CODE.get(code) is Severity.BENIGN or code.startswith(BENIGN_PREFIXES)
    ):
        return True
    return ALREADY_SHORTER in message


def severity_of(
    code: str | None, kind: str = "", message: str = "", *, about_update: bool = False
) -> Severity:
    """Severity of an error with ``code`` and the service's ``type`` (``kind``).

    ``about_update``: the error answers a ``session.update``; then a parameter that is refused costs the call.
    """
    for name in (code, kind):  # some servers put the code into `type` and leave `code` null
        if name in SEVERITY_BY_CODE:
            return SEVERITY_BY_CODE[name]
    if code is not None and code.startswith(BENIGN_PREFIXES):
        return Severity.BENIGN
    if ALREADY_SHORTER in message:
        return Severity.BENIGN
    if code in CONFIG_CODES and about_update:
        return Severity.FATAL_CALL
    return Severity.BENIGN
