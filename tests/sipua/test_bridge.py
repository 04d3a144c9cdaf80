"""A transfer by a second leg: what each thing that happens leads to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.bridge import Bridge, Cause, Dial, Drop, Join, Noted, Ring, Side, State, Step
from sipua.tool_settings import TransferSettings
from sipua.tools.builtin import TRANSFER_TIMEOUT_S
from sipua.transfer import LIMIT_S, SAY_S, Resume, Say

RING_S = 30.0
Event = Callable[[Bridge, float], list[Step]]

SAID: Event = lambda bridge, now: bridge.said(now)  # noqa: E731 - a table
RINGS: Event = lambda bridge, now: bridge.rings()  # noqa: E731
ANSWERED: Event = lambda bridge, now: bridge.answered()  # noqa: E731
BUSY: Event = lambda bridge, now: bridge.refused(486)  # noqa: E731
NO_TRUNK: Event = lambda bridge, now: bridge.refused(503)  # noqa: E731
CALLER: Event = lambda bridge, now: bridge.left(Side.CALLER)  # noqa: E731
PERSON: Event = lambda bridge, now: bridge.left(Side.PERSON)  # noqa: E731
US: Event = lambda bridge, now: bridge.left(Side.AGENT)  # noqa: E731


def silence(bridge: Bridge, now: float) -> list[Step]:
    """Nothing, until the next deadline."""
    return bridge.tick(bridge.deadline() or now)


DIALLED = [Noted(State.DIALLING), Dial()]
JOINED = [Noted(State.BRIDGED, 200), Join()]


def failed(cause: Cause, reason: str, code: int = 0) -> list[Step]:
    return [Noted(State.FAILED, code, cause), Drop(), Say("transfer_failed"), Resume(reason)]


def over(by: Side) -> list[Step]:
    return [Noted(State.OVER, ended_by=by), Drop()]


LEFT = [Noted(State.FAILED, 0, Cause.CALLER_LEFT), Drop()]
RANG: list[Step] = [Noted(State.RINGING), Ring()]


@pytest.mark.parametrize(
    ("story", "steps"),
    [
        ([SAID], DIALLED),
        ([silence], DIALLED),  # a phrase that never ends
        ([RINGS], []),
        ([ANSWERED], []),
        ([BUSY], []),
        ([CALLER], LEFT),
        ([US], LEFT),
        ([SAID, RINGS], DIALLED + RANG),
        ([SAID, RINGS, RINGS], DIALLED + RANG),  # the next trunk's
        ([SAID, ANSWERED], DIALLED + JOINED),
        ([SAID, RINGS, ANSWERED], DIALLED + RANG + JOINED),
        ([SAID, BUSY], DIALLED + failed(Cause.NOT_REACHED, "the line is busy", 486)),
        ([SAID, RINGS, BUSY], DIALLED + RANG + failed(Cause.NOT_REACHED, "the line is busy", 486)),
        ([SAID, NO_TRUNK], DIALLED + failed(Cause.NOT_REACHED, "they could not be reached (code 503)", 503)),
        ([SAID, silence], DIALLED + failed(Cause.RANG_OUT, "nobody answered")),
        ([SAID, RINGS, silence], DIALLED + RANG + failed(Cause.RANG_OUT, "nobody answered")),
        ([SAID, silence, ANSWERED], DIALLED + failed(Cause.RANG_OUT, "nobody answered")),
        ([SAID, CALLER], DIALLED + LEFT),
        ([SAID, RINGS, CALLER], DIALLED + RANG + LEFT),
        ([SAID, RINGS, PERSON], DIALLED + RANG),
        ([SAID, ANSWERED, CALLER], DIALLED + JOINED + over(Side.CALLER)),
        ([SAID, ANSWERED, PERSON], DIALLED + JOINED + over(Side.PERSON)),
        ([SAID, ANSWERED, US], DIALLED + JOINED + over(Side.AGENT)),
        ([SAID, ANSWERED, BUSY, PERSON, CALLER], DIALLED + JOINED + over(Side.PERSON)),
        ([SAID, ANSWERED, silence], DIALLED + JOINED),
    ],
)
def test_what_becomes_of_it(story: list[Event], steps: list[Step]) -> None:
    bridge = Bridge(RING_S)
    assert bridge.begin(0.0, was_told=False) == [Say("transferring"), Noted(State.SAYING)]
    found: list[Step] = []
    for event in story:
        found += event(bridge, 1.0)
    assert found == steps


def test_who_was_told_before_the_refer_is_not_told_again() -> None:
    assert Bridge(RING_S).begin(0.0, was_told=True) == DIALLED


def test_it_rings_for_as_long_as_is_set_and_the_tool_waits_for_it() -> None:
    bridge = Bridge(RING_S)
    bridge.begin(0.0, was_told=True)
    assert bridge.deadline() == RING_S
    bridge.rings()
    assert bridge.deadline() == RING_S
    longest = TransferSettings.model_fields["ring_s"].metadata
    assert SAY_S + max(each.le for each in longest if hasattr(each, "le")) < LIMIT_S < TRANSFER_TIMEOUT_S


def test_what_a_refer_has_taken_is_not_there_any_more() -> None:
    bridge = Bridge(RING_S, limit_s=12.0)
    bridge.begin(0.0, was_told=True)
    assert bridge.deadline() == 12.0


EVENTS = [SAID, RINGS, ANSWERED, BUSY, NO_TRUNK, CALLER, PERSON, US, silence]


@given(st.lists(st.sampled_from(EVENTS), max_size=12))
def test_whatever_happens_it_ends_once_and_nobody_is_left_ringing(story: list[Event]) -> None:
    bridge = Bridge(RING_S)
    steps = bridge.begin(0.0, was_told=False)
    for event in [*story, silence, silence, CALLER]:
        steps += event(bridge, 1.0)
    assert bridge.state in (State.OVER, State.FAILED)
    kinds = [type(each) for each in steps]
    assert kinds.count(Drop) == 1
    assert kinds.count(Dial) <= 1
    assert kinds.count(Join) + kinds.count(Resume) <= 1
    assert bridge.deadline() is None
