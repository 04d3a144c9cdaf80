"""The states of a call: what may follow what, all pairs."""

from __future__ import annotations

import itertools

import pytest

from sipua.call_state import FOLLOWERS, CallState, IllegalTransition, Phase

# One way to each phase, from its beginning.
WAYS: dict[Phase, tuple[Phase, ...]] = {
    Phase.DIALLING: (Phase.DIALLING,),
    Phase.INCOMING: (Phase.INCOMING,),
    Phase.RINGING: (Phase.DIALLING, Phase.RINGING),
    Phase.ANSWERING: (Phase.INCOMING, Phase.RINGING, Phase.ANSWERING),
    Phase.TALKING: (Phase.INCOMING, Phase.RINGING, Phase.ANSWERING, Phase.TALKING),
    Phase.HELD: (Phase.INCOMING, Phase.RINGING, Phase.ANSWERING, Phase.TALKING, Phase.HELD),
    Phase.ENDED: (Phase.INCOMING, Phase.ENDED),
}


def in_phase(phase: Phase) -> CallState:
    began, *steps = WAYS[phase]
    state = CallState(began)
    for step in steps:
        state.to(step)
    return state


@pytest.mark.parametrize(("before", "after"), [*itertools.product(Phase, Phase)])
def test_a_step_is_in_the_table_or_an_error_that_names_both(before: Phase, after: Phase) -> None:
    state = in_phase(before)
    if after in FOLLOWERS[before]:
        state.to(after)
        assert state.phase is after
        return
    with pytest.raises(IllegalTransition, match=f"from {before.value} to {after.value}$"):
        state.to(after)
    assert state.phase is before


def test_every_call_can_end_and_none_begins_again() -> None:
    assert {phase for phase in Phase if Phase.ENDED in FOLLOWERS[phase]} == set(Phase) - {Phase.ENDED}
    assert FOLLOWERS[Phase.ENDED] == frozenset()


def test_answered_is_when_a_200_was_taken() -> None:
    assert [phase for phase in Phase if in_phase(phase).answered] == [Phase.TALKING, Phase.HELD]
