"""The rows as a picture: added delay and late packets of each receiver, trace by trace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sipua.bench.jitter.run import FIXED, OPTIMUM, OURS, Row
from sipua.errors import ConfigError, LocalError

MARKERS = "sd^v<>P"
LINEAR_MS = 1.0  # below it the axis of the delays is linear, so that 0 is on it
LINEAR_PERCENT = 0.05


def plot(rows: Sequence[Row], path: Path) -> None:
    """Writes a PNG. ConfigError without matplotlib, LocalError if the file cannot be written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError('--plot needs matplotlib: pip install "sipua[bench]"') from None
    traces = list(dict.fromkeys(row.trace for row in rows))
    policies = list(dict.fromkeys(row.policy for row in rows))
    figure = Figure(figsize=(14, 2.2 + 0.34 * len(traces)), layout="constrained")
    FigureCanvasAgg(figure)
    delays, lates = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for number, policy in enumerate(policies):
        mine = [row for row in rows if row.policy == policy]
        heights = [traces.index(row.trace) for row in mine]
        is_ours = policy == OURS
        style = {
            "marker": "o" if is_ours else MARKERS[number % len(MARKERS)],
            "s": 70 if is_ours else 34,
            "zorder": 3 if is_ours else 2,
            "alpha": 1.0 if policy in (OURS, FIXED, OPTIMUM) else 0.55,
            "color": "black" if is_ours else f"C{number}",
            "label": policy,
            "clip_on": False,
        }
        delays.scatter([row.added_ms_mean for row in mine], heights, **style)
        lates.scatter([row.late_fraction * 100 for row in mine], heights, **style)
    delays.set_yticks(range(len(traces)), traces)
    delays.set_ylim(len(traces) - 0.5, -0.5)
    for axes, title, linear in (
        (delays, "added delay, mean over the packets handed over [ms]", LINEAR_MS),
        (lates, "late: arrived and not used [%]", LINEAR_PERCENT),
    ):
        axes.set_xscale("symlog", linthresh=linear)
        axes.set_xlim(left=0)
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    figure.legend(*delays.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    try:
        figure.savefig(path, format="png", dpi=110)
    except OSError as error:
        raise LocalError(f"--plot {path}: {error.strerror}") from None
