"""What counts as clear speech that nobody notices, and how often it may change sessions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from rtp.codec import CODECS
from sipua.echo_filter import level_of
from sipua.errors import RealtimeDeaf
from sipua.realtime import events as ev
from sipua.realtime.continuity import DEAF_EVERY_S, Continuity, Drop, Output, Rules
from sipua.realtime.unheard import SPEECH_MS, Unheard
from tests.emulator.driven import recorded

Samples = npt.NDArray[np.float64]
CODEC = CODECS["PCMU"]
RNG = np.random.default_rng(7)
TIME = np.arange(40 * 8000) / 8000
SPEECH = np.tile(recorded("question_en.wav").astype(np.float64), 4)


def clear_at(samples: Samples, answered_every_s: float = float("inf")) -> float | None:
    """Seconds."""
    unheard = Unheard(level_of(CODEC), 8)
    payload, answered_at = CODEC.encode(samples.clip(-32768, 32767).astype(np.int16)), 0.0
    for at in range(0, len(payload) - 159, 160):
        if at / 8000 - answered_at >= answered_every_s:
            unheard.answered()
            answered_at = at / 8000
        unheard.heard(payload[at : at + 160])
        if unheard.is_clear:
            return at / 8000
    return None


def after_silence(samples: Samples) -> Samples:
    return np.concatenate([np.zeros(5 * 8000), samples])


@pytest.mark.parametrize("noise", [0, 200], ids=["clean", "noisy"])
def test_speech_is_clear_after_some_seconds(noise: int) -> None:
    at = clear_at(SPEECH + RNG.normal(0, noise, len(SPEECH)))
    assert at is not None
    assert SPEECH_MS / 1000 <= at <= 8


NOISES = [
    pytest.param(after_silence(RNG.normal(0, level, len(TIME))), id=f"noise {level}")
    for level in (300, 1000, 3000, 8000)
] + [
    pytest.param(after_silence(level * np.sin(2 * np.pi * 120 * TIME)), id=f"hum {level}")
    for level in (300, 3000, 8000)
]


@pytest.mark.parametrize("noise", NOISES)
def test_noise_that_sets_in_is_no_speech(noise: Samples) -> None:
    assert clear_at(noise) is None


def test_faint_speech_is_left_to_the_service() -> None:
    assert clear_at(SPEECH * 0.1) is None


def test_a_session_that_says_something_hears() -> None:
    assert clear_at(SPEECH, answered_every_s=3) is None


def dropped(outputs: list[Output]) -> bool:
    return any(isinstance(each, Drop) and isinstance(each.error, RealtimeDeaf) for each in outputs)


def test_music_changes_sessions_ever_more_seldom_and_gives_none_up() -> None:
    core, times = Continuity(Rules(), lambda: 0.5, 0.0, None), []
    for now in map(float, range(5, 1000, 5)):
        outputs = core.unheard(now)
        if dropped(outputs):
            times.append(now)
            core.lost(now, outputs[0].error)  # type: ignore[union-attr]  # as said above
            core.ready(now + 1, None)
    assert times == [5.0, 5 + DEAF_EVERY_S, 5 + 3 * DEAF_EVERY_S, 5 + 7 * DEAF_EVERY_S, 5 + 15 * DEAF_EVERY_S]


@pytest.mark.parametrize(
    "events",
    [
        [ev.SpeechStarted("u1", 0)],
        [ev.ResponseCreated("r1")],
    ],
    ids=["it has noticed", "it answers"],
)
def test_a_session_that_is_busy_is_left_alone(events: list[ev.Event]) -> None:
    core = Continuity(Rules(), lambda: 0.5, 0.0, None)
    for event in events:
        core.floor.on_event(event, 1.0)
    assert not dropped(core.unheard(9.0))


def test_a_session_that_is_only_to_listen_is_left_alone() -> None:
    core = Continuity(Rules(), lambda: 0.5, 0.0, None)
    core.answers_turns = False
    assert not dropped(core.unheard(9.0))
