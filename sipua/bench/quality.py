"""``sipua bench quality``: what the voice service hears of a person when packets are lost, by PESQ (ITU-T P.862).

Recorded prompts go as G.711 through the class that every call of ``sipua serve`` has, with random loss. Of the same
losses three results are compared with the prompt: as concealed, with silence instead (zero-fill), and with the gaps
left out, as where nobody cares. Bare G.711 is coded and decoded without anything between. The mean is that of all
prompts and seeds; pesq is compiled at installation and belongs to the extra ``bench``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rtp.errors import WavError
from rtp.events import AudioFrame, StreamEvent
from rtp.g711 import Pcm
from rtp.packet import build_rtp
from rtp.wav import read_wav
from sipua.bench.figures import machine
from sipua.bench.jitter.ours import CODEC, REMOTE, new_stream
from sipua.errors import ConfigError, LocalError

PROMPTS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
PROMPTS_PACKAGE = "asterisk-core-sounds-en-wav"
RATE = 8000
PACKET_S = 0.02
PACKET_SAMPLES = 160
SHORTEST_S, LONGEST_S = 3.0, 8.0  # of a prompt; P.862 wants 3.2 s of speech and more
LOSSES = (0.01, 0.03, 0.05, 0.10)
MODES = ("concealed", "zero-fill", "left out")
BARE, CLEAN = "bare G.711", "no loss"
ABOVE_ZERO_FILL = {0.01: 0.15, 0.03: 0.3, 0.05: 0.5, 0.10: 0.5}
CLEAN_TOLERANCE = 0.01

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One prompt with one pattern of losses."""

    prompt: Path
    loss: float
    seed: int


def prompts(folder: Path, count: int) -> list[Path]:
    """``count`` prompts of fitting length, evenly out of all. LocalError if there are not so many."""
    fitting = [path for path in sorted(folder.glob("*.wav")) if SHORTEST_S <= _seconds(path) <= LONGEST_S]
    if len(fitting) < count:
        raise LocalError(
            f"{folder} has {len(fitting)} prompts of {SHORTEST_S:g} to {LONGEST_S:g} s, needed are {count} "
            f"(apt-get install {PROMPTS_PACKAGE}, or --prompts FOLDER)"
        )
    return [fitting[index * len(fitting) // count] for index in range(count)]


def _seconds(path: Path) -> float:
    try:
        return len(read_wav(path, RATE)) / RATE
    except WavError:
        return 0.0


def heard(pcm: Pcm, loss: float, seed: int) -> dict[str, Pcm]:
    """The prompt through the receive path with random loss, by mode; first and last packet arrive."""
    stream = new_stream()
    lost = np.random.default_rng(seed).random(len(pcm) // PACKET_SAMPLES) < loss
    lost[[0, -1]] = False
    sound: list[StreamEvent] = []
    for number in np.flatnonzero(~lost):
        now = float(number) * PACKET_S
        while (deadline := stream.deadline()) is not None and deadline <= now:
            sound += stream.on_timer(deadline)
        payload = CODEC.encode(pcm[number * PACKET_SAMPLES : (number + 1) * PACKET_SAMPLES])
        timestamp = int(number) * PACKET_SAMPLES
        sound += stream.receive_rtp(build_rtp(0, False, int(number), timestamp, 1, payload), REMOTE, now)
    while (deadline := stream.deadline()) is not None and deadline <= len(lost) * PACKET_S + 0.2:
        sound += stream.on_timer(deadline)
    frames = [event for event in sound if isinstance(event, AudioFrame)]
    zero = np.zeros(len(lost) * PACKET_SAMPLES, dtype=np.int16)
    return {
        "concealed": _joined(CODEC.decode(frame.payload) for frame in frames),
        "zero-fill": _joined(
            zero[: frame.samples] if frame.concealed else CODEC.decode(frame.payload) for frame in frames
        ),
        "left out": _joined(CODEC.decode(frame.payload) for frame in frames if not frame.concealed),
    }


def _joined(parts: Any) -> Pcm:
    return np.concatenate(list(parts))


def scores(case: Case) -> dict[str, float]:
    """PESQ-NB (MOS-LQO) by mode; without loss of the clean way and of bare G.711."""
    from pesq import pesq

    prompt = read_wav(case.prompt, RATE)
    prompt = prompt[: len(prompt) // PACKET_SAMPLES * PACKET_SAMPLES]
    score = partial(pesq, RATE, prompt)
    results = heard(prompt, case.loss, case.seed)
    if case.loss:
        return {mode: float(score(results[mode], "nb")) for mode in MODES}
    bare = CODEC.decode(CODEC.encode(prompt))
    return {BARE: float(score(bare, "nb")), CLEAN: float(score(results["concealed"], "nb"))}


@dataclass(frozen=True, slots=True)
class QualityRow:
    """The mean over all prompts and seeds."""

    loss: float
    mode: str
    pesq_nb: float
    cases: int


def run_quality(folder: Path, count: int, seeds: int, workers: int, show: Show) -> dict[str, Any]:
    """The document of ``sipua bench quality --json``. Raises ConfigError without pesq, LocalError."""
    try:
        import pesq as _  # noqa: F401
    except ImportError:
        raise ConfigError('this needs pesq (compiled at installation): pip install "sipua[bench]"') from None
    chosen = prompts(folder, count)
    rows: list[QualityRow] = []
    with ProcessPoolExecutor(workers) as pool:
        for loss in (0.0, *LOSSES):
            show(f"{loss:.0%} loss")
            cases = [Case(path, loss, seed) for path in chosen for seed in range(seeds if loss else 1)]
            rows += means(loss, list(pool.map(scores, cases, chunksize=5)))
    return {
        "rows": [
            {"loss": row.loss, "mode": row.mode, "pesq_nb": round(row.pesq_nb, 3), "cases": row.cases}
            for row in rows
        ],
        "promises": [{"promise": promise, "is_kept": is_kept} for promise, is_kept in judged(rows).items()],
        "prompts": count,
        "seeds": seeds,
        "machine": machine(),
    }


def means(loss: float, results: Sequence[Mapping[str, float]]) -> list[QualityRow]:
    """One row a mode."""
    return [
        QualityRow(loss, mode, float(np.mean([each[mode] for each in results])), len(results))
        for mode in results[0]
    ]


def judged(rows: Sequence[QualityRow]) -> dict[str, bool]:
    """What is promised, and whether the rows keep it."""
    score = {(row.loss, row.mode): row.pesq_nb for row in rows}
    promises = {
        f"{loss:.0%} loss: concealed ≥ zero-fill + {above:g}": score[loss, "concealed"]
        >= score[loss, "zero-fill"] + above
        for loss, above in ABOVE_ZERO_FILL.items()
    }
    promises[f"no loss = bare G.711 ± {CLEAN_TOLERANCE:g}"] = (
        abs(score[0.0, CLEAN] - score[0.0, BARE]) <= CLEAN_TOLERANCE
    )
    return promises
