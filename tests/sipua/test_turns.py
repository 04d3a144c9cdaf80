"""Whose turn it is: the caller's voice over the agent, in each mode. The playout is the real one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtp.codec import CODECS
from rtp.playout import Playout
from sipua.actions import Action, CancelResponse, IgnoreResponse, Truncate
from sipua.turns import ACTIVE_MAX, ITEMS_MAX, TurnRules, Turns

BYTES_PER_MS = 8
SPEECH_MS = 800  # what the VAD adds: 300 before, 500 after


class Scene:
    """A playout with its turns; time passes by frames of 20 ms."""

    def __init__(self, **rules: Any) -> None:
        self.playout = Playout(CODECS["PCMU"])
        self.turns = Turns(TurnRules(**rules), self.playout)
        self.now = 0.0

    def says(self, response: str, *items: tuple[str, int], is_opening: bool = False) -> list[Action]:
        actions = self.turns.response_created(response, is_asked=is_opening, is_opening=is_opening)
        for item, ms in items:
            self.turns.item_added(response, item)
            self.playout.append(item, b"\x01" * ms * BYTES_PER_MS)
        return actions

    def ends(self, response: str, *items: str) -> None:
        for item in items:
            self.playout.end_item(item)
        self.turns.response_done(response)

    def passes(self, ms: int) -> int:
        """Frames with speech that left meanwhile."""
        self.now += ms / 1000
        return sum(self.playout.next_frame() is not None for _ in range(ms // 20))

    def starts(self, item: str = "u1", at_ms: int = 0) -> list[Action]:
        return self.turns.speech_started(item, at_ms, self.now)

    def stops(self, lasted_ms: int, item: str = "u1", at_ms: int = 0) -> list[Action]:
        return self.turns.speech_stopped(item, at_ms + lasted_ms + SPEECH_MS)


@pytest.mark.parametrize(
    ("rules", "interrupts"),
    [({}, True), ({"protects_opening": True}, False), ({"pause_ms": 300}, False)],
)
def test_who_cancels(rules: dict[str, Any], interrupts: bool) -> None:
    scene = Scene(**rules)
    assert scene.turns.rules.service_interrupts is interrupts


def test_audio_that_comes_after_the_cut_is_unheard_too() -> None:
    """All that had come was heard, and the rest was under way: of that item, too, the caller heard only so much."""
    scene = Scene()
    scene.says("r1", ("a1", 200))
    scene.passes(200)
    assert scene.starts() == [IgnoreResponse("r1")]
    assert scene.turns.late_audio("a1") == [Truncate("a1", 200)]
    assert scene.turns.late_audio("a1") == []
    assert scene.turns.late_audio("a2") == [Truncate("a2", 0)]  # one that nobody had announced


def test_an_item_that_was_cut_is_not_truncated_again_for_its_late_audio() -> None:
    scene = Scene()
    scene.says("r1", ("a1", 1000))
    scene.passes(100)
    assert Truncate("a1", 100) in scene.starts()
    assert scene.turns.late_audio("a1") == []


def test_two_responses_at_once_are_both_over() -> None:
    scene = Scene()
    scene.says("r1", ("a1", 300))
    scene.says("r2", ("a2", 300))
    scene.turns.response_done("r2")
    assert scene.turns.active_response == "r1"
    scene.says("r3")
    assert scene.starts() == [
        IgnoreResponse("r1"), IgnoreResponse("r3"), Truncate("a1", 0), Truncate("a2", 0)
    ]  # fmt: skip


def test_speech_that_begins_twice_cuts_once() -> None:
    scene = Scene()
    scene.says("r1", ("a1", 300))
    assert Truncate("a1", 0) in scene.starts()
    assert scene.starts("u2") == [IgnoreResponse("r1")]


def test_ids_without_end_take_no_memory_without_end() -> None:
    scene = Scene()
    for number in range(1000):
        scene.says(f"r{number}")
        scene.turns.late_audio(f"a{number}")
    cut = scene.starts()
    assert len(cut) == ACTIVE_MAX
    assert len([n for n in range(1000) if not scene.turns.late_audio(f"a{n}")]) <= ITEMS_MAX


# ---- the protected opening -------------------------------------------------------------------------------


def opening() -> Scene:
    scene = Scene(protects_opening=True)
    scene.says("r0", ("hello", 600), is_opening=True)
    return scene


def test_the_opening_is_said_to_its_end() -> None:
    scene = opening()
    scene.passes(100)
    assert scene.starts() == []
    assert scene.passes(200) == 10
    scene.ends("r0", "hello")
    assert scene.starts("u2") == []  # the service has done, the caller still hears it
    assert scene.passes(400) == 15


def test_words_of_ours_are_cut_without_a_word_to_the_service_unless_they_are_protected() -> None:
    scene = Scene()
    for item in ("sipua_phrase_1", "sipua_phrase_2"):
        scene.playout.append(item, b"\x01" * 200 * BYTES_PER_MS)
        scene.playout.end_item(item)
    scene.turns.protect("sipua_phrase_2")
    assert scene.starts() == []
    assert scene.playout.queued_ms == 200
    assert scene.passes(1000) == 10


def test_an_answer_behind_the_opening_is_cut_and_the_opening_is_not() -> None:
    scene = opening()
    scene.ends("r0", "hello")
    scene.passes(100)
    scene.says("r1", ("a1", 500))
    assert scene.starts() == [IgnoreResponse("r1"), CancelResponse("r1"), Truncate("a1", 0)]
    assert scene.playout.queued_ms == 500
    assert scene.passes(1000) == 25


def test_after_the_opening_the_caller_interrupts_as_ever_only_that_we_cancel() -> None:
    scene = opening()
    scene.ends("r0", "hello")
    scene.passes(600)
    scene.says("r1", ("a1", 500))
    scene.passes(60)
    assert scene.starts() == [IgnoreResponse("r1"), CancelResponse("r1"), Truncate("a1", 60)]


def test_what_was_said_while_a_response_could_not_be_interrupted_is_owed_an_answer() -> None:
    scene = opening()
    scene.starts()
    scene.turns.committed("u1")
    assert scene.turns.is_owed
    scene.ends("r0", "hello")
    scene.says("r1")
    assert not scene.turns.is_owed


def test_nothing_is_owed_where_the_service_cancels_or_nothing_runs() -> None:
    serving, free = Scene(), opening()
    serving.says("r1")
    serving.turns.committed("u1")
    free.ends("r0", "hello")
    free.turns.committed("u1")
    assert not serving.turns.is_owed
    assert not free.turns.is_owed


# ---- the pause -------------------------------------------------------------------------------------------


def paused(*, done: bool = True) -> Scene:
    """100 of 1000 ms were heard when somebody began to speak."""
    scene = Scene(pause_ms=300)
    scene.says("r1", ("a1", 1000))
    if done:
        scene.ends("r1", "a1")
    scene.passes(100)
    assert scene.starts() == []
    assert scene.passes(200) == 0
    return scene


def test_a_cough_makes_the_agent_pause_and_go_on_where_it_was() -> None:
    scene = paused()
    assert scene.stops(250) == []
    assert scene.passes(900) == 45


def test_what_the_service_answers_to_a_cough_is_not_wanted() -> None:
    scene = paused()
    scene.stops(250)
    scene.turns.committed("u1")
    assert scene.says("r2") == [IgnoreResponse("r2"), CancelResponse("r2")]
    scene.turns.response_done("r2")
    scene.turns.committed("u2")
    assert scene.says("r3") == []


@pytest.mark.parametrize("how", ["another turn", "our own question"])
def test_a_cough_that_got_no_answer_costs_no_later_one(how: str) -> None:
    scene = paused(done=False)  # the service gives none while its response runs
    scene.stops(250)
    scene.turns.committed("u1")
    assert not scene.turns.is_owed
    if how == "another turn":
        scene.turns.committed("u2")
        assert scene.says("r2") == []
    else:
        assert scene.turns.response_created("r2", is_asked=True) == []


def test_words_are_an_interruption_as_at_the_pause() -> None:
    scene = paused(done=False)
    assert scene.stops(300) == [IgnoreResponse("r1"), CancelResponse("r1"), Truncate("a1", 100)]
    scene.turns.committed("u1")
    assert scene.turns.is_owed
    assert scene.passes(100) == 0


def test_who_goes_on_speaking_interrupts_after_a_while() -> None:
    scene = paused()
    due = scene.turns.deadline()
    assert due is not None
    assert due == pytest.approx(0.1 + 0.8)
    assert scene.turns.tick(due - 0.01) == []
    assert scene.turns.tick(due) == [Truncate("a1", 100)]
    assert scene.turns.deadline() is None
    assert scene.stops(5000) == []


def test_speech_without_words_was_none() -> None:
    scene = paused()
    scene.turns.transcribed("u0", "")  # another's
    assert scene.turns.is_paused
    scene.turns.transcribed("u1", " ")
    assert scene.passes(900) == 45


def test_a_false_end_of_turn_waits_for_what_comes() -> None:
    """The service took a breath for the end; nothing of its answer has come yet."""
    scene = Scene(pause_ms=300)
    scene.says("r1")
    assert scene.starts() == []
    scene.playout.append("a1", bytes(100 * BYTES_PER_MS))
    assert scene.passes(100) == 0
    assert scene.stops(900) == [IgnoreResponse("r1"), CancelResponse("r1"), Truncate("a1", 0)]


def test_in_silence_there_is_nothing_to_pause() -> None:
    scene = Scene(pause_ms=300)
    assert scene.starts() == []
    assert not scene.turns.is_paused
    assert scene.stops(100) == []
    scene.turns.committed("u1")
    assert scene.says("r1") == []  # a short yes is an answer


def test_speech_that_begins_twice_pauses_once() -> None:
    scene = paused()
    due = scene.turns.deadline()
    scene.starts("u2", at_ms=100)
    assert scene.turns.deadline() == due
    assert scene.stops(100, "u1") == []
    assert scene.turns.is_paused
    scene.stops(100, "u2", at_ms=100)
    assert scene.passes(900) == 45


# ---- always ----------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(["a1", "a2", "play", "speak"]), st.integers(1, 400)), max_size=40))
@example([("a1", 21), ("play", 140), ("a1", 1), ("speak", 1)])  # it ran dry, and faded in again
def test_no_truncation_is_beyond_what_left_or_came(steps: list[tuple[str, int]]) -> None:
    """Whatever the sizes of deltas and the moments: what was sent of the item, and no more than there was."""
    scene = Scene()
    scene.says("r1")
    left = {"a1": 0, "a2": 0}
    for what, ms in steps:
        if what == "play":
            for _ in range(ms // 20):
                made_up = scene.playout.counters.faded
                frame = scene.playout.next_frame() or b""
                if (
                    scene.playout.counters.faded == made_up
                ):  # µ-law, also where it fades in: below 0x80 is negative
                    left["a1"] += sum(byte < 0x80 for byte in frame)
                    left["a2"] += sum(0x80 <= byte < 0xFF for byte in frame)
        elif what == "speak":
            for action in scene.starts():
                if isinstance(action, Truncate):
                    assert action.audio_end_ms == left[action.item_id] // BYTES_PER_MS
                    assert action.audio_end_ms < scene.playout.received_ms(action.item_id)
        else:
            scene.playout.append(what, (b"\x01" if what == "a1" else b"\x81") * ms * BYTES_PER_MS)
