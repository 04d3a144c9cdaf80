"""How a call ends, as rows: status, reason and the code that the caller got."""

from __future__ import annotations

import pytest

from sipua.errors import (
    ConfigError,
    LocalError,
    MediaTimeout,
    RealtimeClosed,
    RealtimeRefused,
    RealtimeRejectedConfig,
    RealtimeUnreachable,
    SipuaError,
)
from sipua.outcome import (
    Ending,
    Status,
    ending_of_code,
    ending_of_disconnect,
    ending_of_error,
    is_voice_failure,
)
from storage.words import STATUSES


def test_the_statuses_are_those_of_the_schema() -> None:
    assert tuple(status.value for status in Status) == STATUSES


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        (403, Status.FAILED, "sip_403"),
        (404, Status.FAILED, "sip_404"),
        (408, Status.NO_ANSWER, "no_answer"),
        (480, Status.NO_ANSWER, "temporarily_unavailable"),
        (486, Status.BUSY, "busy"),
        (487, Status.NO_ANSWER, "cancelled"),
        (488, Status.FAILED, "no_common_codec"),
        (500, Status.FAILED, "sip_500"),
        (503, Status.FAILED, "service_unavailable"),
        (600, Status.BUSY, "busy_everywhere"),
        (603, Status.FAILED, "declined"),
    ],
)
def test_a_final_response(code: int, status: Status, reason: str) -> None:
    assert ending_of_code(code, "why") == Ending(status, reason, "why", code)


@pytest.mark.parametrize(
    ("answered", "code", "status", "reason"),
    [
        (True, 200, Status.COMPLETED, "caller_hangup"),
        (True, 0, Status.FAILED, "dialog_lost_0"),
        (True, 408, Status.FAILED, "dialog_lost_408"),
        (True, 503, Status.FAILED, "dialog_lost_503"),
        (False, 487, Status.NO_ANSWER, "caller_cancelled"),
        (False, 503, Status.FAILED, "service_unavailable"),
        (False, 488, Status.FAILED, "no_common_codec"),
    ],
)
def test_a_leg_that_is_gone(answered: bool, code: int, status: Status, reason: str) -> None:
    ending = ending_of_disconnect(answered=answered, code=code, phrase="x")
    assert (ending.status, ending.reason) == (status, reason)


def test_a_session_that_nobody_refreshed() -> None:
    ending = ending_of_disconnect(answered=True, code=408, phrase="x", expired=True)
    assert (ending.status, ending.reason, ending.sip_code) == (Status.FAILED, "session_expired", 408)


def test_a_bye_before_our_answer_stands_is_no_completed_call() -> None:
    """The dialog ended with 200 although nobody spoke: whatever it is, it is not a completed call."""
    assert ending_of_disconnect(answered=False, code=200, phrase="").status is not Status.COMPLETED


ERRORS: list[tuple[SipuaError, str, bool]] = [
    (RealtimeUnreachable("x"), "realtime_unreachable", True),
    (RealtimeRefused("x"), "realtime_refused", True),
    (RealtimeRejectedConfig("x"), "realtime_rejected_config", True),
    (RealtimeClosed("x", close_code=1001), "realtime_closed", True),
    (MediaTimeout("x"), "rtp_timeout", False),
    (LocalError("x"), "local", False),
    (ConfigError("x"), "config", False),
]


@pytest.mark.parametrize(("error", "reason", "voice"), ERRORS)
def test_an_error_before_the_answer_is_a_503_and_after_it_a_bye(
    error: SipuaError, reason: str, voice: bool
) -> None:
    assert ending_of_error(error, answered=False) == Ending(Status.FAILED, reason, "x", 503)
    assert ending_of_error(error, answered=True) == Ending(Status.FAILED, reason, "x", 0)
    assert is_voice_failure(error) is voice
