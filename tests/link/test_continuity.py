"""When sessions follow each other: rows of what happens and when, and what is to be done."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from sipua.errors import RealtimeClosed, RealtimeRefused, RealtimeUnreachable
from sipua.realtime import events as ev
from sipua.realtime.continuity import (
    LOSSES_MAX,
    Cause,
    Continuity,
    GiveUp,
    OpenNext,
    Output,
    PlayComfort,
    Retire,
    Rules,
    Switch,
)
from sipua.realtime.floor import Ask, Floor, Resumption

LOST = RealtimeClosed("lost")
BUSY = RealtimeUnreachable("busy")
QUOTA = RealtimeRefused("no money", code="insufficient_quota")
Step = Callable[[Continuity, float], list[Output] | None]


def said(*events: ev.Event) -> Step:
    def step(core: Continuity, now: float) -> None:
        for event in events:
            core.floor.on_event(event, now)

    return step


def tick(core: Continuity, now: float) -> list[Output]:
    return core.tick(now)


def ready(core: Continuity, now: float) -> list[Output]:
    return core.ready(now, 3600.0)


def lost(core: Continuity, now: float) -> list[Output]:
    return core.lost(now, LOST)


def busy(core: Continuity, now: float) -> list[Output]:
    return core.failed(now, BUSY)


def refused(core: Continuity, now: float) -> list[Output]:
    return core.failed(now, QUOTA)


def started(at_ms: int = 5000) -> ev.SpeechStarted:
    return ev.SpeechStarted("u", at_ms)


def stopped(at_ms: int = 7000) -> ev.SpeechStopped:
    return ev.SpeechStopped("u", at_ms)


WORDS = ev.UserTranscript("u", "Hello")
CREATED = ev.ResponseCreated("r")
SAYING = ev.AssistantTranscriptDelta("a", "r", "Hi")
DONE = ev.ResponseDone("r", "completed", None, None, None, None)
TOOL = ev.FunctionCall("r", "f", "c", "book", "{}")
NOTHING = Resumption(0, Ask.NOTHING)

# (name, [(time, step, what it gives)]); the session was opened at 0 and lives 3600 s
STORIES: list[tuple[str, list[tuple[float, Step, list[Output]]]]] = [
    (
        "the next one waits for a quiet moment",
        [
            (3479, tick, []),
            (3480, tick, [OpenNext(1)]),
            (3481, said(started()), []),
            (3482, ready, []),
            (3484, said(stopped(), ev.InputCommitted("u", None), CREATED), []),
            (3486, said(SAYING, DONE), []),
            (3486.4, tick, []),
            (3486.5, tick, [Switch(1, Cause.QUIET, Resumption(7000, Ask.NOTHING))]),
            (3491.4, tick, []),
            (3491.5, tick, [Retire(0)]),
        ],
    ),
    (
        "a caller who does not stop is moved while he speaks",
        [
            (3480, tick, [OpenNext(1)]),
            (3481, said(started(9000)), []),
            (3482, ready, []),
            (3589, tick, []),
            (3590, tick, [Switch(1, Cause.CAP, Resumption(9000, Ask.NOTHING, is_speech=True))]),
        ],
    ),
    (
        "a tool at work is waited for, and an answer goes on in the former session",
        [
            (3480, tick, [OpenNext(1)]),
            (3481, said(CREATED, TOOL, DONE), []),
            (3482, ready, []),
            (3500, tick, []),
            (3590, tick, [Switch(1, Cause.CAP, NOTHING)]),
        ],
    ),
    (
        "a rotation that does not come about is tried again, and the call goes on",
        [
            (3480, tick, [OpenNext(1)]),
            (3484, busy, []),
            (3484.18, tick, []),
            (3484.19, tick, [OpenNext(2)]),
            (3488, busy, []),
            (3488.37, tick, []),
            (3488.38, tick, [OpenNext(3)]),
            (3489, ready, [Switch(3, Cause.QUIET, NOTHING)]),
        ],
    ),
    (
        "a rotation that is refused for good ends the call only when its session does",
        [(3480, tick, [OpenNext(1)]), (3481, refused, []), (3500, tick, []), (3600, lost, [GiveUp(QUOTA)])],
    ),
    (
        "a loss is followed at once, and the caller told when it takes long",
        [
            (100, lost, [OpenNext(1)]),
            (101.2, tick, [PlayComfort()]),
            (101.3, tick, []),
            (102, ready, [Switch(1, Cause.LOST, NOTHING)]),
            (130, tick, []),
        ],
    ),
    ("a session that waits takes over from a lost one", [
        (3480, tick, [OpenNext(1)]),
        (3481, said(started(8000)), []),
        (3482, ready, []),
        (3483, lost, [Switch(1, Cause.LOST, Resumption(8000, Ask.NOTHING, is_speech=True))]),
    ]),
    ("a loss while the next one is being opened", [
        (3480, tick, [OpenNext(1)]),
        (3480.5, lost, []),
        (3481, ready, [Switch(1, Cause.LOST, NOTHING)]),
    ]),
    ("a next one that is lost before it was needed", [
        (3480, tick, [OpenNext(1)]),
        (3481, said(started()), []),
        (3482, ready, []),
        (3483, busy, []),
            (3483.2, tick, [OpenNext(2)]),
    ]),
    ("refused for good after a loss", [(100, lost, [OpenNext(1)]), (101, refused, [GiveUp(QUOTA)])]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "story"), STORIES, ids=[name for name, _ in STORIES])
def test_a_story(name: str, story: list[tuple[float, Step, list[Output]]]) -> None:
    core = Continuity(Rules(), lambda: 0.5, 0.0, 3600.0)
    for at, step, wanted in story:
        if step is tick and wanted:
            assert core.deadline() <= at + 1e-9, "the timer would not have rung"
        assert (step(core, at) or []) == wanted, f"{name} at {at}"


@pytest.mark.parametrize(
    ("cap_s", "rotates_at", "forced_at"),
    [(3600.0, 3480.0, 3590.0), (1800.0, 1680.0, 1790.0), (20.0, 12.0, 17.0), (None, math.inf, math.inf)],
)
def test_short_sessions_have_short_margins(cap_s: float | None, rotates_at: float, forced_at: float) -> None:
    core = Continuity(Rules(), lambda: 0.5, 0.0, cap_s)
    assert core.deadline() == pytest.approx(rotates_at)
    if cap_s is None:
        return
    core.floor.on_event(started(), rotates_at)
    assert core.tick(rotates_at) == [OpenNext(1)]
    assert core.ready(rotates_at, cap_s) == []
    assert core.deadline() == pytest.approx(forced_at)


def test_the_budget_ends_it_and_nothing_follows() -> None:
    core = Continuity(Rules(budget_s=3.0), lambda: 0.5, 0.0, 3600.0)
    outputs = core.lost(100.0, LOST)
    now, tries = 100.0, 1
    while now < 103.0:
        outputs = core.failed(now, BUSY)
        while OpenNext(tries + 1) not in outputs and now < 103.0:
            now = core.deadline()
            outputs = core.tick(now)
        tries += 1
    (end,) = outputs
    assert isinstance(end, GiveUp)
    assert "no other session within 3 s" in str(end.error)
    assert 4 <= tries <= 8
    assert (core.tick(200.0), core.deadline()) == ([], math.inf)


@pytest.mark.parametrize(
    ("budget_s", "error", "gives_up"), [(20.0, QUOTA, True), (0.0, LOST, True), (20.0, LOST, False)]
)
def test_what_is_never_tried_again(budget_s: float, error: RealtimeRefused, gives_up: bool) -> None:
    core = Continuity(Rules(budget_s=budget_s), lambda: 0.5, 0.0, None)
    assert core.lost(9.0, error) == ([GiveUp(error)] if gives_up else [OpenNext(1)])


def test_a_service_that_drops_every_session_is_asked_ever_later_and_given_up() -> None:
    core = Continuity(Rules(), lambda: 1.0, 0.0, 3600.0)
    pauses = []
    now = 1.0
    for number in range(1, LOSSES_MAX + 1):
        lost_at, opened = now, core.lost(now, LOST)
        while OpenNext(number) not in opened:
            now = core.deadline()
            opened = core.tick(now)
        pauses.append(now - lost_at)
        core.ready(now, 3600.0)
    assert pauses == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0]
    assert core.lost(now, LOST) == [GiveUp(LOST)]


def test_losses_that_lie_far_apart_are_made_good_at_once() -> None:
    core = Continuity(Rules(), lambda: 1.0, 0.0, 3600.0)
    for number in range(1, 5):
        assert core.lost(61.0 * number, LOST) == [OpenNext(number)]
        core.ready(61.0 * number, 3600.0)


TURN = [started(), stopped(), ev.InputCommitted("u", None)]
LEFT: list[tuple[str, list[ev.Event], Resumption]] = [
    ("nobody spoke", [], NOTHING),
    ("he speaks", [started(4000)], Resumption(4000, Ask.NOTHING, is_speech=True)),
    ("he has spoken, his words are not known", TURN, Resumption(5000, Ask.NOTHING, is_speech=True)),
    ("he has spoken, his words are known", [*TURN, WORDS], Resumption(7000, Ask.AGAIN)),
    ("the answer is announced, nothing said", [*TURN, WORDS, CREATED], Resumption(7000, Ask.AGAIN)),
    ("the answer is cut off", [*TURN, CREATED, SAYING], Resumption(7000, Ask.CONTINUE)),
    ("the answer is complete", [*TURN, CREATED, SAYING, DONE], Resumption(7000, Ask.NOTHING)),
    ("a tool is at work", [*TURN, CREATED, TOOL], Resumption(7000, Ask.NOTHING)),
    ("he interrupts", [*TURN, CREATED, SAYING, started(9000)], Resumption(9000, Ask.NOTHING, is_speech=True)),
]


@pytest.mark.parametrize(("name", "events", "left"), LEFT, ids=[name for name, _, _ in LEFT])
def test_what_is_left_to_do_after_a_loss(name: str, events: list[ev.Event], left: Resumption) -> None:
    floor = Floor(0.0)
    for event in events:
        floor.on_event(event, 1.0)
    assert floor.resumption() == left


def test_a_request_is_made_again_and_a_turn_without_answer_does_not_wait_for_ever() -> None:
    floor = Floor(0.0)
    floor.asked(1.0)
    assert floor.resumption().ask is Ask.AGAIN
    assert floor.quiet_at() == 6.0
    floor.on_event(CREATED, 2.0)
    assert floor.quiet_at() is None
    floor.on_event(DONE, 3.0)
    assert floor.quiet_at() == 3.5
