"""A blind transfer: what each answer, NOTIFY and silence leads to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.tools.builtin import TRANSFER_TIMEOUT_S
from sipua.transfer import (
    ANSWER_S,
    NOTIFY_S,
    SAY_S,
    Cause,
    HangUp,
    Noted,
    Refer,
    Resume,
    Say,
    State,
    Step,
    Transfer,
)

TARGET = "sip:+250788999999@carrier.test"
SILENCE = None
Told = tuple[int, bool] | None


def play(story: list[Told]) -> tuple[Transfer, list[Step], float]:
    """What follows from a story since the phrase was heard; ``SILENCE`` is until the next deadline."""
    transfer, now = Transfer(TARGET), 100.0
    assert transfer.begin(now) == [Say("transferring")]
    now += 2
    steps = transfer.said(now)
    for told in story:
        if told is SILENCE:
            now = transfer.deadline() or now
            steps += transfer.tick(now)
        else:
            now += 1
            steps += transfer.told(*told, now)
    return transfer, steps, now


@pytest.mark.parametrize(
    ("story", "state", "cause", "reason"),
    [
        ([(202, False), (180, False), (200, True)], State.DONE, None, ""),
        ([(202, False), (200, True)], State.DONE, None, ""),
        ([(202, False), (100, False), (183, False), (200, False)], State.DONE, None, ""),
        ([(202, False), (180, False), (486, True)], State.FAILED, Cause.NOT_REACHED, "busy"),
        ([(202, False), (503, True)], State.FAILED, Cause.NOT_REACHED, "code 503"),
        ([(202, False), (302, True)], State.FAILED, Cause.NOT_REACHED, "code 302"),
        ([(603, True)], State.FAILED, Cause.REFUSED, "does not allow"),
        ([(100, False), (603, True)], State.FAILED, Cause.REFUSED, "does not allow"),
        ([(500, True)], State.FAILED, Cause.REFUSED, "does not allow"),
        ([SILENCE], State.FAILED, Cause.UNANSWERED, "did not answer"),
        ([(202, False), SILENCE], State.FAILED, Cause.NEVER_NOTIFIED, "nobody told"),
        ([(202, False), (100, True)], State.FAILED, Cause.UNTOLD, "nobody told"),
        ([(202, False), (180, False), SILENCE], State.FAILED, Cause.RANG_OUT, "nobody answered"),
        ([(202, False), SILENCE, (200, True)], State.FAILED, Cause.NEVER_NOTIFIED, "nobody told"),
    ],
)
def test_what_becomes_of_it(story: list[Told], state: State, cause: Cause | None, reason: str) -> None:
    transfer, steps, _ = play(story)
    assert (transfer.state, transfer.cause, transfer.deadline()) == (state, cause, None)
    assert steps[:2] == [Refer(TARGET), Noted(State.REQUESTED)]
    if state is State.DONE:
        assert steps[-2:] == [Noted(State.DONE, 200), HangUp()]
    else:
        *_, noted, said, resumed = steps
        assert noted == Noted(State.FAILED, transfer.code, cause)
        assert said == Say("transfer_failed")
        assert isinstance(resumed, Resume)
        assert reason in resumed.reason


@pytest.mark.parametrize(("code", "refuses"), [(603, True), (501, True), (405, True), (500, False)])
def test_a_peer_that_refuses_refer_as_such_is_told_apart(code: int, refuses: bool) -> None:
    assert play([(code, True)])[0].peer_refuses is refuses


def test_a_person_who_declines_is_no_peer_that_refuses_refer() -> None:
    assert not play([(202, False), (603, True)])[0].peer_refuses


def test_a_phrase_that_never_ends_does_not_keep_the_refer() -> None:
    transfer = Transfer(TARGET)
    transfer.begin(0.0)
    assert transfer.tick(SAY_S - 0.1) == []
    assert transfer.told(202, False, 1.0) == []  # of nothing that was asked
    assert transfer.tick(SAY_S)[0] == Refer(TARGET)
    assert transfer.deadline() == SAY_S + ANSWER_S


def test_where_everything_is_slow_it_still_ends_before_the_tool_does() -> None:
    transfer, late = Transfer(TARGET), 0.001
    transfer.begin(0.0)
    transfer.tick(SAY_S)
    accepted = SAY_S + ANSWER_S - late
    transfer.told(202, False, accepted)
    transfer.told(180, False, accepted + NOTIFY_S - late)
    due = transfer.deadline()
    assert due is not None
    assert due < TRANSFER_TIMEOUT_S
    assert transfer.tick(due)[-1] == Resume("nobody answered")


def test_a_refer_that_cannot_be_sent_brings_the_caller_back() -> None:
    transfer = Transfer(TARGET)
    transfer.begin(0.0)
    transfer.said(1.0)
    assert transfer.not_sent()[-1] == Resume("the transfer could not be started")
    assert transfer.not_sent() == []


def test_an_acceptance_waits_longer_than_its_answer() -> None:
    transfer, _, now = play([(202, False)])
    assert transfer.deadline() == now + NOTIFY_S


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(100, 699), st.booleans())), max_size=12))
def test_whatever_is_told_it_ends_once_and_before_the_tool_does(story: list[Told]) -> None:
    transfer, steps, now = play([*story, SILENCE, SILENCE, SILENCE])
    assert transfer.is_over
    assert sum(isinstance(each, HangUp | Resume) for each in steps) == 1
    assert now - 100.0 - len(story) < TRANSFER_TIMEOUT_S
