"""The echo guard on envelopes of speech-like sound: what comes back is told from a caller who speaks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from sipua.echo_guard import EchoGuard, EchoRules

Levels = npt.NDArray[np.float64]
NOISE = 12.0


def speech(seed: int, frames: int, level: float = 3000.0) -> Levels:
    """Syllables of 100 to 300 ms with pauses between: an envelope as speech has it, around ``level``."""
    rng = np.random.default_rng(seed)
    found: list[float] = []
    while len(found) < frames:
        length = int(rng.integers(5, 16))
        loud = level * rng.uniform(0.4, 1.6)
        found += list(loud * np.hanning(length + 2)[1:-1])
        found += [0.0] * int(rng.integers(1, 12))
    return np.array(found[:frames])


def echo_of(sent: Levels, lag: int, loss_db: float) -> Levels:
    """Half a frame out of step, as a real path is."""
    late = np.concatenate([np.zeros(lag), sent])[: len(sent)]
    later = np.concatenate([np.zeros(lag + 1), sent])[: len(sent)]
    heard: Levels = np.sqrt((late**2 + later**2) / 2) * 10 ** (-loss_db / 20)
    return heard


def echo_frames(guard: EchoGuard, heard: Levels, sent: Levels) -> list[bool]:
    told = []
    for h, s in zip(heard, sent, strict=True):
        guard.sent(float(s))
        told.append(guard.is_echo(float(h) + NOISE))
    return told


@pytest.mark.parametrize("lag", [1, 5, 15, 29])
@pytest.mark.parametrize("loss_db", [8.0, 15.0, 25.0])
def test_our_own_voice_coming_back_is_echo(lag: int, loss_db: float) -> None:
    sent = speech(1, 500)
    heard = echo_of(sent, lag, loss_db)
    guard = EchoGuard(EchoRules())
    told = np.array(echo_frames(guard, heard, sent))
    loud = heard + NOISE >= 60
    assert told[loud].mean() > 0.99
    assert guard.path is not None
    assert abs(guard.path.lag_ms - 20 * lag) <= 20
    assert guard.path.loss_db == pytest.approx(loss_db, abs=2.0)


@pytest.mark.parametrize("seed", range(5))
def test_a_caller_who_speaks_over_us_passes_within_three_frames(seed: int) -> None:
    sent = speech(seed, 500)
    heard = echo_of(sent, 8, 20.0)
    guard = EchoGuard(EchoRules())
    echo_frames(guard, heard[:400], sent[:400])
    caller = np.full(100, 2500.0)
    told = echo_frames(guard, np.hypot(heard[400:], caller), sent[400:])
    assert not any(told[3:])


@pytest.mark.parametrize("ptime_ms", [10, 30, 60])
def test_packets_of_any_length_and_late_ones(ptime_ms: int) -> None:
    """We send packets of another length than those that come, and these come up to 40 ms late."""
    rng = np.random.default_rng(4)
    sent = speech(1, 600)
    heard = echo_of(sent, 9, 15.0)
    guard = EchoGuard(EchoRules())
    arrivals: dict[int, list[float]] = {}
    due = 0
    for at, level in enumerate(heard):
        due = max(due, at + int(rng.integers(0, 3)))
        arrivals.setdefault(due, []).append(float(level) + NOISE)
    told: list[tuple[float, bool]] = []
    done_ms = 0
    while done_ms < 595 * 20:
        for _ in range(max(1, 20 // ptime_ms)):
            guard.sent(float(sent[done_ms // 20]), ptime_ms)
            done_ms += ptime_ms
        for at in sorted(arrivals):
            if at * 20 < done_ms:
                told += [(level, guard.is_echo(level)) for level in arrivals.pop(at)]
    loud = [is_echo for level, is_echo in told if level >= 60]
    assert len(loud) > 100
    assert sum(loud) > 0.97 * len(loud)


def test_on_a_line_without_echo_a_caller_need_not_shout() -> None:
    """A weak one, 20 dB below our own voice, is heard once we have spoken for a while and nothing came back."""
    sent = speech(2, 200)
    guard = EchoGuard(EchoRules())
    told = echo_frames(guard, np.zeros(200), sent)
    assert not any(told)
    assert guard.path is None
    weak = np.full(50, 300.0)
    assert echo_frames(guard, weak, speech(5, 50)) == [False] * 50


def test_a_phone_that_has_not_sent_anything_yet_bounds_nothing() -> None:
    guard = EchoGuard(EchoRules())
    for level in speech(2, 200):
        guard.sent(float(level))
    assert guard.is_echo(300.0)


def test_a_caller_passes_while_we_are_silent_from_the_first_frame() -> None:
    caller, silence = speech(3, 300, 400.0), np.zeros(300)
    assert not any(echo_frames(EchoGuard(EchoRules()), caller, silence))


def test_the_ends_of_words_pass_too() -> None:
    """The last syllable fades below the echo, and is still the caller's."""
    sent = np.full(400, 2000.0)
    heard = np.full(400, 200.0)  # 20 dB down
    heard[200:220] = 3000.0
    heard[220:228] = np.linspace(1500.0, 210.0, 8)
    told = echo_frames(EchoGuard(EchoRules(assumed_loss_db=20.0)), heard, sent)
    assert not any(told[200:228])
    assert all(told[240:])


def test_without_a_path_the_assumed_loss_decides() -> None:
    strict, lenient = EchoGuard(EchoRules(assumed_loss_db=0.0)), EchoGuard(EchoRules(assumed_loss_db=30.0))
    for guard in (strict, lenient):
        guard.sent(1000.0)
    assert strict.is_echo(900.0)
    assert not lenient.is_echo(900.0)
    assert strict.path is None


def test_a_caller_alone_teaches_no_path() -> None:
    guard = EchoGuard(EchoRules())
    echo_frames(guard, speech(7, 600), speech(8, 600))
    assert guard.path is None


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ({"margin_db": -1}, "margin_db -1"),
        ({"assumed_loss_db": 41}, "assumed_loss_db 41"),
        ({"hangover_ms": 2000}, "hangover_ms 2000"),
    ],
)
def test_rules_out_of_range_are_named(rules: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        EchoRules(**rules)  # type: ignore[arg-type]
