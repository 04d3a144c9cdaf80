"""The quality bench: what is heard of the same losses in each mode, and what it promises."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rtp.codec import CODECS
from rtp.g711 import Pcm
from rtp.wav import WavWriter
from sipua.bench.quality import (
    ABOVE_ZERO_FILL,
    BARE,
    CLEAN,
    LOSSES,
    PROMPTS,
    PROMPTS_PACKAGE,
    QualityRow,
    Score,
    heard,
    judged,
    means,
    prompts,
    targets_of,
)
from sipua.cli.bench import app
from sipua.errors import ConfigError, LocalError

PCMU = CODECS["PCMU"]


def voice(seconds: float) -> Pcm:
    at = np.arange(int(seconds * 8000)) / 8000
    return (6000 * np.sin(2 * np.pi * 130 * at) * (1 + 0.4 * np.sin(2 * np.pi * 3 * at))).astype(np.int16)


def error(one: Pcm, other: Pcm) -> float:
    return float(np.sqrt(np.mean((one.astype(float) - other) ** 2)))


def test_the_modes_hear_the_same_losses() -> None:
    pcm = voice(4)
    results = heard(pcm, 0.05, 1)
    coded = PCMU.decode(PCMU.encode(pcm))
    lost = np.flatnonzero([not part.any() for part in results["zero-fill"].reshape(-1, 160)])
    assert 3 <= len(lost) <= 20
    assert len(results["concealed"]) == len(results["zero-fill"]) == len(pcm)
    assert len(results["left out"]) == len(pcm) - 160 * len(lost)
    kept = np.ones(len(pcm), dtype=bool).reshape(-1, 160)
    kept[lost] = False
    for mode in ("concealed", "zero-fill"):
        assert (results[mode][kept.reshape(-1)] == coded[kept.reshape(-1)]).all()
    assert error(results["concealed"], pcm) < 0.5 * error(results["zero-fill"], pcm)


def test_without_loss_all_modes_are_the_bare_codec() -> None:
    pcm = voice(2)
    for result in heard(pcm, 0.0, 1).values():
        assert (result == PCMU.decode(PCMU.encode(pcm))).all()


def test_promises() -> None:
    rows = [QualityRow(0.0, BARE, 4.0, 1), QualityRow(0.0, CLEAN, 4.0, 1)]
    for loss in LOSSES:
        rows += means(
            loss,
            [
                {
                    "zero-fill": Score(2.0, 3.0),
                    "concealed": Score(2.0 + ABOVE_ZERO_FILL[loss] + step, 4.0 if step > 0 else None),
                    "left out": Score(1.0),
                }
                for step in (-0.1, 0.12)
            ],
        )
    assert all(judged(rows).values())
    five = {row.mode: row for row in rows if row.loss == 0.05}
    assert {mode: (row.visqol, row.visqol_cases) for mode, row in five.items()} == {
        "zero-fill": (3.0, 2), "concealed": (4.0, 1), "left out": (None, 0),
    }  # fmt: skip
    assert targets_of(rows)[0.05, "concealed"] == 2.5
    assert targets_of(rows)[0.0, CLEAN] == pytest.approx(3.99)
    worse = [
        QualityRow(row.loss, row.mode, row.pesq_nb - (row.mode in ("concealed", CLEAN)) * 0.1, 1)
        for row in rows
    ]
    assert not any(judged(worse).values())
    assert len(judged(rows)) == 5


def test_prompts_are_of_fitting_length_and_evenly_chosen(tmp_path: Path) -> None:
    for number, seconds in enumerate([1.0, 4.0, 5.0, 9.0, 6.0, 7.0]):
        with WavWriter(tmp_path / f"{number}.wav") as file:
            file.write(voice(seconds))
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    assert [path.stem for path in prompts(tmp_path, 4)] == ["1", "2", "4", "5"]
    assert [path.stem for path in prompts(tmp_path, 2)] == ["1", "4"]
    with pytest.raises(LocalError, match=f"4 prompts of 3 to 8 s, needed are 5 .*{PROMPTS_PACKAGE}"):
        prompts(tmp_path, 5)


@pytest.mark.parametrize(
    ("module", "flags", "words"),
    [
        ("pesq", [], "needs pesq"),
        ("visqol", ["--visqol"], "visqol-python"),
        ("ai_edge_litert", ["--visqol"], "lattice"),
    ],
)
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, flags: list[str], words: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(app, ["quality", "--prompts", str(tmp_path), *flags])
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)
    assert 'pip install "sipua[bench]"' in str(result.exception)
    assert "apt-get install gcc" in str(result.exception)


def test_recorded_speech_is_measured() -> None:
    """Where pesq is installed: it needs a compiler, so it is not among the tests' own libraries."""
    pytest.importorskip("pesq")
    if not PROMPTS.is_dir():
        pytest.skip(f"no recorded prompts: apt-get install {PROMPTS_PACKAGE}")
    result = CliRunner().invoke(app, ["quality", "--count", "4", "--seeds", "1", "--json"])
    assert result.exit_code == 0, result.exception
    document = json.loads(result.stdout)
    score = {(row["loss"], row["mode"]): row["pesq_nb"] for row in document["rows"]}
    assert score[0.0, CLEAN] == score[0.0, BARE] > 3.5
    assert score[0.05, "concealed"] > score[0.05, "zero-fill"] > score[0.1, "zero-fill"]
    targets = {(row["loss"], row["mode"]): row["target"] for row in document["rows"]}
    assert targets[0.05, "concealed"] == pytest.approx(score[0.05, "zero-fill"] + 0.5, abs=0.001)
    assert targets[0.05, "zero-fill"] is None
