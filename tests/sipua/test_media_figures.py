"""What was measured of a call's media: never more than was reported, and what of it becomes a metric."""

from __future__ import annotations

import pytest

from rtp.events import RemoteReport
from rtp.quality import Losses, quality
from sipua.media_figures import FarEnd, MediaFigures
from sipua.metrics import Metrics

KNOWN = FarEnd(1, 1.0, 2.0, 40.0)


@pytest.mark.parametrize(
    ("report", "sent", "before", "expected"),
    [
        (RemoteReport(0.5, 5, 2.5, 40.06), 100, None, FarEnd(5, 5.0, 2.5, 40.1)),
        (RemoteReport(0.0, -2, 0.0, None), 100, None, FarEnd(0, 0.0, 0.0, None)),  # duplicates
        (RemoteReport(0.0, 0, 0.0, None), 100, KNOWN, FarEnd(0, 0.0, 0.0, 40.0)),  # it saw none of ours since
        (RemoteReport(1.0, 500, 0.0, None), 100, None, FarEnd(500, 100.0, 0.0, None)),  # nonsense
        (RemoteReport(1.0, 5, 0.0, None), 0, None, FarEnd(5, 0.0, 0.0, None)),
    ],
)
def test_what_the_far_end_says(
    report: RemoteReport, sent: int, before: FarEnd | None, expected: FarEnd
) -> None:
    assert FarEnd.of(report, sent, before) == expected


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_call_counts_by_its_trunk() -> None:
    metrics = Metrics(node="n", worker=0, instance="i", version="v")
    heard = quality(Losses(100, 10, 10), 20)
    figures = MediaFigures(
        sent=90, received=90, lost=10, jitter_ms=4.0, dropped={"empty": 2}, quality=heard, far_end=KNOWN,
        buffer={"put": 90, "get": 90, "dup": 3, "lost": 10, "delay_ms_p50": None},
    )  # fmt: skip
    metrics.count_media("mtn", figures)
    metrics.count_media("mtn", MediaFigures(sent=5))  # heard nothing: no quality is made up
    assert sample(metrics, "sipua_call_mos_count", trunk="mtn") == 1
    assert sample(metrics, "sipua_call_mos_sum", trunk="mtn") == heard.mos
    assert sample(metrics, "sipua_rtp_jitter_seconds_sum", trunk="mtn") == pytest.approx(0.004)
    assert sample(metrics, "sipua_rtp_jitter_seconds_count", trunk="mtn") == 1
    assert sample(metrics, "sipua_rtp_round_trip_seconds_sum", trunk="mtn") == pytest.approx(0.04)
    assert sample(metrics, "sipua_rtp_far_end_packets_lost_total", trunk="mtn") == 1
    assert sample(metrics, "sipua_rtp_buffer_packets_total", kind="dup") == 3
    assert sample(metrics, "sipua_rtp_buffer_packets_total", kind="overflow") == 0
    assert sample(metrics, "sipua_rtp_packets_total", direction="sent") == 95
