"""Nobody says anything: when the caller is asked, and when the call ends. Stories of seconds."""

from __future__ import annotations

import pytest

from sipua.idle import Idle, IdleRules, IdleWatch, instructions
from sipua.languages import load_languages
from sipua.resources import shipped_conf

RULES = IdleRules(after_s=10, prompts=2)


def told(watch: IdleWatch, now: float, queued_ms: int = 0, *, is_busy: bool = False) -> str:
    found = watch.tick(now, queued_ms, is_busy=is_busy)
    return found.value if found is not None else ""


def test_a_silent_caller_is_asked_twice_then_let_go() -> None:
    watch = IdleWatch(RULES, 0.0)
    story = []
    for now in range(100):
        if said := told(watch, now):
            story.append((now, said))
            watch.quiet(now, 2000)  # what is said takes two seconds
    assert story == [(10, "prompt"), (22, "prompt"), (34, "farewell")]
    assert watch.deadline() is None


def test_silence_begins_when_the_last_word_was_heard() -> None:
    """The answer came within a second and takes thirty to say."""
    watch = IdleWatch(RULES, 0.0)
    watch.quiet(1.0, 30_000)
    assert watch.deadline() == 41.0
    assert told(watch, 40.9) == ""
    assert told(watch, 41.0) == "prompt"


def test_a_playout_that_stood_still_is_waited_for() -> None:
    watch = IdleWatch(RULES, 0.0)
    watch.quiet(0.0, 5_000)
    assert told(watch, 15.0, 5_000) == ""
    assert watch.deadline() == 30.0


def test_who_is_busy_is_not_asked() -> None:
    watch = IdleWatch(RULES, 0.0)
    assert told(watch, 10.0, is_busy=True) == ""
    assert (told(watch, 19.9), told(watch, 20.0)) == ("", "prompt")


def test_words_begin_it_anew() -> None:
    watch = IdleWatch(RULES, 0.0)
    assert told(watch, 10.0) == "prompt"
    watch.caller_spoke()
    watch.quiet(12.0, 0)
    assert [told(watch, now) for now in (22.0, 32.0, 42.0)] == ["prompt", "prompt", "farewell"]


def test_a_breath_that_was_taken_for_speech_begins_nothing_anew() -> None:
    watch = IdleWatch(RULES, 0.0)
    assert told(watch, 10.0) == "prompt"
    watch.caller_spoke()
    watch.quiet(12.0, 0)
    watch.had_no_words()
    assert [told(watch, now) for now in (22.0, 32.0)] == ["prompt", "farewell"]


@pytest.mark.parametrize(("rules", "expected"), [(IdleRules(0, 2), ""), (IdleRules(5, 0), "farewell")])
def test_never_and_at_once(rules: IdleRules, expected: str) -> None:
    assert told(IdleWatch(rules, 0.0), 1000.0) == expected


def test_what_is_said_is_in_the_callers_language() -> None:
    phrases = load_languages(shipped_conf()).of("fr").phrases
    assert phrases.still_there in instructions(Idle.PROMPT, phrases)
    assert phrases.goodbye in instructions(Idle.FAREWELL, phrases)
