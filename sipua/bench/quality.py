"""``sipua bench quality``: what the voice service hears of a person when packets are lost, by PESQ (ITU-T P.862).

Recorded prompts go as G.711 through the class that every call of ``sipua serve`` has, with random loss. Of the same
losses three results are compared with the prompt: as concealed, with silence instead (zero-fill), and with the gaps
left out, as where nobody cares. Bare G.711 is coded and decoded without anything between. The mean is that of all
prompts and seeds. ViSQOL is beside it if asked for, of the first seed only (a second a score, PESQ 40 ms), with the
lattice model of the original, without which it overrates bad speech by 1 to 2. Both belong to the extra ``bench``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtp.errors import WavError
from rtp.events import AudioFrame, StreamEvent
from rtp.g711 import Pcm
from rtp.packet import build_rtp
from rtp.resample import Resampler
from rtp.wav import read_wav
from sipua.bench.figures import machine
from sipua.bench.jitter.ours import CODEC, REMOTE, new_stream
from sipua.errors import ConfigError, LocalError

PROMPTS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
PROMPTS_PACKAGE = "asterisk-core-sounds-en-wav"
RATE = 8000
VISQOL_RATE = 16000  # of its speech mode
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
    with_visqol: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """MOS-LQO of PESQ-NB, and of ViSQOL where it was asked for."""

    pesq_nb: float
    visqol: float | None = None


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


def scores(case: Case) -> dict[str, Score]:
    """By mode; without loss of the clean way and of bare G.711."""
    from pesq import pesq

    prompt = read_wav(case.prompt, RATE)
    prompt = prompt[: len(prompt) // PACKET_SAMPLES * PACKET_SAMPLES]

    def score(result: Pcm) -> Score:
        visqol = _visqol(prompt, result) if case.with_visqol else None
        return Score(float(pesq(RATE, prompt, result, "nb")), visqol)

    results = heard(prompt, case.loss, case.seed)
    if case.loss:
        return {mode: score(results[mode]) for mode in MODES}
    return {BARE: score(CODEC.decode(CODEC.encode(prompt))), CLEAN: score(results["concealed"])}


@cache  # the model is read once a process
def _visqol_api() -> Any:
    from visqol import VisqolApi

    api = VisqolApi()
    api.create(mode="speech", use_lattice_model=True)
    return api


def _visqol(prompt: Pcm, result: Pcm) -> float:
    found = _visqol_api().measure_from_arrays(_wide(prompt), _wide(result), VISQOL_RATE)
    return float(found.moslqo)


def _wide(pcm: Pcm) -> npt.NDArray[np.float64]:
    resampler = Resampler(RATE, VISQOL_RATE)
    return np.concatenate([resampler.push(pcm), resampler.flush()]) / 32768


@dataclass(frozen=True, slots=True)
class QualityRow:
    """The mean over all prompts and seeds; ``visqol`` over those of the first seed."""

    loss: float
    mode: str
    pesq_nb: float
    cases: int
    visqol: float | None = None
    visqol_cases: int = 0


def check_metrics(*, with_visqol: bool) -> None:
    """ConfigError that says what to install."""
    needed = {"pesq": "pesq"} | (
        {"visqol": "visqol-python", "ai_edge_litert": "its extra lattice"} if with_visqol else {}
    )
    missing = [package for module, package in needed.items() if find_spec(module) is None]
    if missing:
        raise ConfigError(
            f'this needs {" and ".join(missing)}: pip install "sipua[bench]" '
            "(pesq is compiled then: apt-get install gcc python3-dev)"
        )


def run_quality(
    folder: Path, count: int, seeds: int, workers: int, show: Show, *, with_visqol: bool = False
) -> dict[str, Any]:
    """The document of ``sipua bench quality --json``. Raises ConfigError without the metrics, LocalError."""
    check_metrics(with_visqol=with_visqol)
    chosen = prompts(folder, count)
    rows: list[QualityRow] = []
    with ProcessPoolExecutor(workers) as pool:
        for loss in (0.0, *LOSSES):
            show(f"{loss:.0%} loss")
            cases = [
                Case(path, loss, seed, with_visqol and seed == 0)
                for path in chosen
                for seed in range(seeds if loss else 1)
            ]
            rows += means(loss, list(pool.map(scores, cases, chunksize=5)))
    targets = targets_of(rows)
    return {
        "rows": [
            {
                "loss": row.loss,
                "mode": row.mode,
                "pesq_nb": round(row.pesq_nb, 3),
                "target": round(targets[row.loss, row.mode], 3) if (row.loss, row.mode) in targets else None,
                "cases": row.cases,
                "visqol": None if row.visqol is None else round(row.visqol, 3),
                "visqol_cases": row.visqol_cases,
            }
            for row in rows
        ],
        "promises": [{"promise": promise, "is_kept": is_kept} for promise, is_kept in judged(rows).items()],
        "prompts": count,
        "seeds": seeds,
        "machine": machine(),
    }


def means(loss: float, results: Sequence[Mapping[str, Score]]) -> list[QualityRow]:
    """One row a mode."""
    rows = []
    for mode in results[0]:
        visqol = [found for each in results if (found := each[mode].visqol) is not None]
        pesq_nb = float(np.mean([each[mode].pesq_nb for each in results]))
        mean = float(np.mean(visqol)) if visqol else None
        rows.append(QualityRow(loss, mode, pesq_nb, len(results), mean, len(visqol)))
    return rows


def targets_of(rows: Sequence[QualityRow]) -> dict[tuple[float, str], float]:
    """The least PESQ that is promised, by loss and mode: above zero-fill, and no worse than bare G.711."""
    score = {(row.loss, row.mode): row.pesq_nb for row in rows}
    targets = {
        (loss, "concealed"): score[loss, "zero-fill"] + above for loss, above in ABOVE_ZERO_FILL.items()
    }
    return targets | {(0.0, CLEAN): score[0.0, BARE] - CLEAN_TOLERANCE}


def judged(rows: Sequence[QualityRow]) -> dict[str, bool]:
    """What is promised, and whether the rows keep it."""
    score, targets = {(row.loss, row.mode): row.pesq_nb for row in rows}, targets_of(rows)
    promises = {
        f"{loss:.0%} loss: concealed ≥ zero-fill + {above:g}": score[loss, "concealed"]
        >= targets[loss, "concealed"]
        for loss, above in ABOVE_ZERO_FILL.items()
    }
    promises[f"no loss = bare G.711 ± {CLEAN_TOLERANCE:g}"] = (
        abs(score[0.0, CLEAN] - score[0.0, BARE]) <= CLEAN_TOLERANCE
    )
    return promises
