"""The consent core: the table of transitions row by row, and what holds in every order of events."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.consent import (
    ANSWERS_MAX,
    FOLLOWERS,
    PATIENCE,
    Answered,
    Ask,
    Confirm,
    Consent,
    Input,
    Proceed,
    Start,
    State,
    Step,
    Stop,
)

ANSWER_S = 6.0


def asking(again: bool = False) -> Consent:
    consent = Consent(ANSWER_S)
    assert consent.begin() == [Ask()]
    consent.asked(0.0, 4.0)
    if again:
        assert consent.expire(10.0) == [Ask()]
        consent.asked(10.0, 4.0)
    return consent


YES_BY_VOICE = [Answered(True, "voice"), Confirm(True), Start(), Proceed("voice")]


@pytest.mark.parametrize("again", [False, True], ids=["asked", "asked again"])
@pytest.mark.parametrize(
    ("key", "steps", "state"),
    [
        ("1", [Answered(True, "dtmf"), Confirm(True), Start(), Proceed("dtmf")], State.GIVEN),
        ("2", [Answered(False, "dtmf"), Confirm(False), Proceed("dtmf")], State.REFUSED),
        ("3", None, None),
        ("#", None, None),
        ("", None, None),
    ],
)
def test_a_key_answers(again: bool, key: str, steps: list[Step] | None, state: State | None) -> None:
    consent = asking(again)
    before = consent.state
    assert consent.key(key) == steps
    assert consent.state is (state or before)


@pytest.mark.parametrize("again", [False, True], ids=["asked", "asked again"])
def test_the_voice_answers(again: bool) -> None:
    assert asking(again).said(granted=True) == YES_BY_VOICE
    assert asking(again).said(granted=False) == [
        Answered(False, "voice"), Confirm(False), Proceed("voice"),
    ]  # fmt: skip


def test_silence_is_asked_once_more_and_is_then_no_answer() -> None:
    consent = asking()
    assert consent.deadline() == 4.0 + ANSWER_S
    assert consent.expire(9.999) == []
    assert consent.expire(10.0) == [Ask()]
    assert consent.deadline() is None  # until the question is on its way
    assert consent.expire(99.0) == []
    consent.asked(10.0, 4.0)
    assert consent.expire(20.0) == [Answered(None, None), Confirm(False), Proceed(None)]
    assert (consent.state, consent.deadline()) == (State.UNANSWERED, None)


def test_who_talks_is_waited_for_but_not_for_ever() -> None:
    consent = asking()
    consent.talked(9.0)
    assert consent.deadline() == 15.0
    for now in range(10, 100):
        consent.talked(float(now))
    assert consent.deadline() == 4.0 + PATIENCE * ANSWER_S
    assert consent.expire(4.0 + PATIENCE * ANSWER_S) == [Ask()]


def test_talk_never_shortens_the_time() -> None:
    consent = asking()
    consent.talked(0.5)
    assert consent.deadline() == 10.0


def test_the_call_ends_while_the_question_stands() -> None:
    assert asking().over() == [Answered(None, None)]
    assert asking(again=True).over() == [Answered(None, None)]
    settled = asking()
    settled.said(granted=True)
    assert settled.over() == []
    assert Consent(ANSWER_S).over() == []


def test_an_answer_given_twice_is_one() -> None:
    consent = asking()
    consent.key("1")
    assert consent.said(granted=True) == []
    assert consent.key("1") is None  # no question stands: it is a key like others
    assert consent.is_given


@pytest.mark.parametrize(
    ("first", "then", "steps"),
    [
        (True, False, [Stop(), Answered(False, "voice"), Confirm(False)]),
        (False, True, [Answered(True, "voice"), Confirm(True), Start()]),
        (None, True, [Answered(True, "voice"), Confirm(True), Start()]),
        (None, False, [Answered(False, "voice"), Confirm(False)]),
    ],
    ids=["withdrawn", "given after a no", "given after silence", "refused after silence"],
)
def test_a_change_of_mind(first: bool | None, then: bool, steps: list[Step]) -> None:
    consent = asking(again=True)
    consent.expire(99.0) if first is None else consent.said(first)
    assert consent.said(then) == steps


def test_a_yes_to_what_was_not_asked_is_none() -> None:
    consent = Consent(ANSWER_S)
    assert consent.said(granted=True) == []
    assert consent.said(granted=False) == [Answered(False, "voice"), Confirm(False)]


def test_the_table_leads_everywhere_and_nowhere_else() -> None:
    """Every state but the first can be reached, and of those that stand only time or an answer leads away."""
    assert set(FOLLOWERS.values()) == set(State) - {State.UNASKED}
    for state, what in itertools.product((State.ASKED, State.ASKED_AGAIN), Input):
        assert ((state, what) in FOLLOWERS) is (what is not Input.ASK)


inputs = st.lists(
    st.one_of(
        st.tuples(st.just("key"), st.sampled_from("0123456789*#")),
        st.tuples(st.just("said"), st.booleans()),
        st.tuples(st.just("wait"), st.floats(0, 30)),
        st.tuples(st.just("talked"), st.none()),
    ),
    max_size=40,
)


@given(inputs)
def test_whatever_happens(story: list[tuple[str, Any]]) -> None:
    consent, now, recording = Consent(ANSWER_S), 0.0, False
    seen: list[Step] = []

    def take(steps: list[Step]) -> None:
        nonlocal recording
        for step in steps:
            seen.append(step)
            match step:
                case Ask():
                    consent.asked(now, 4.0)
                case Start():
                    assert not recording
                    assert [s for s in seen if isinstance(s, Answered)][-1].result is True
                    recording = True
                case Stop():
                    assert recording
                    recording = False
        assert recording is consent.is_given

    take(consent.begin())
    for kind, value in story:
        match kind:
            case "key":
                take(consent.key(value) or [])
            case "said":
                take(consent.said(value))
            case "wait":
                now += value
                take(consent.expire(now))
            case "talked":
                consent.talked(now)
    take(consent.over())
    answers = [step for step in seen if isinstance(step, Answered)]
    assert 1 <= len(answers) <= ANSWERS_MAX + 1
    assert sum(isinstance(step, Ask) for step in seen) <= 2
    assert sum(isinstance(step, Proceed) for step in seen) <= 1
