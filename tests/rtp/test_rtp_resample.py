"""8 ↔ 24 kHz as a stream: the delay is known and constant whatever the pieces, nothing drifts, nothing is lost."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pytest

from rtp.g711 import Pcm
from rtp.resample import Resampler

WAYS = pytest.mark.parametrize(("src", "dst"), [(8000, 24_000), (24_000, 8000)], ids=["up", "down"])


def through(src: int, dst: int, sound: Pcm, pieces: list[int]) -> list[Pcm]:
    """What comes out for each piece, and last what ``flush`` gives."""
    resampler, at, out = Resampler(src, dst), 0, []
    for size in cycle(pieces):
        if at >= len(sound):
            break
        out.append(resampler.push(sound[at : at + size]))
        at += size
    return [*out, resampler.flush()]


@WAYS
@pytest.mark.parametrize(
    "pieces",
    [[7], [80], [160], [480], [961], [4800], [1, 160, 3, 999, 240]],
    ids=lambda pieces: str(pieces),
)
def test_an_impulse_stays_where_it_is(src: int, dst: int, pieces: list[int]) -> None:
    """The delay is paid by the first pieces, which are short, and by nobody later: the sound itself is not moved."""
    for place in (src // 100, src // 10, src // 5 - src // 100):
        sound = np.zeros(src // 5, np.int16)
        sound[place] = 20_000
        out = through(src, dst, sound, pieces)
        joined = np.concatenate(out)
        assert len(joined) == dst // 5
        assert abs(int(np.argmax(np.abs(joined))) - place * dst / src) <= max(1, dst // src)
        whole = through(src, dst, sound, [len(sound)])
        assert (joined == np.concatenate(whole)).all()


@WAYS
@pytest.mark.parametrize("ms", [5, 10, 20, 60])
def test_what_is_owed_is_the_same_after_every_piece(src: int, dst: int, ms: int) -> None:
    noise = np.random.default_rng(3).normal(0, 3000, src * ms // 20).astype(np.int16)
    *pieces, tail = through(src, dst, noise, [src * ms // 1000])
    owed = np.cumsum([dst * ms // 1000 - len(piece) for piece in pieces])
    assert set(owed[2:]) == {owed[-1]}
    assert 0 < owed[-1] <= dst * 0.0022  # at most 2.2 ms
    assert abs(len(tail) - owed[-1]) <= 1


@WAYS
def test_ten_minutes_are_ten_minutes(src: int, dst: int) -> None:
    """In the pieces that a voice service sends, of 50 to 400 ms, and an odd one."""
    sound = np.zeros(src * 600, np.int16)
    clicks = [src * second for second in (1, 300, 599)]
    sound[clicks] = 20_000
    joined = np.concatenate(through(src, dst, sound, [src // 20, src * 2 // 5, src // 5 + 1]))
    assert len(joined) == len(sound) * dst // src
    heard = np.flatnonzero(np.abs(joined) > 4000)
    places = [int(heard[np.argmin(np.abs(heard - click * dst // src))]) for click in clicks]
    assert (
        max(abs(at - click * dst / src) for at, click in zip(places, clicks, strict=True)) <= dst // src + 1
    )
    assert len({at - click * dst // src for at, click in zip(places, clicks, strict=True)}) == 1


def test_after_flush_it_is_new() -> None:
    resampler = Resampler(8000, 24_000)
    sound = np.arange(800, dtype=np.int16)
    first = [resampler.push(sound), resampler.flush()]
    again = [resampler.push(sound), resampler.flush()]
    assert all((one == other).all() for one, other in zip(first, again, strict=True))
    assert resampler.flush().size == 0
