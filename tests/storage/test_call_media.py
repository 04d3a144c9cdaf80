"""The view that makes the media figures of calls columns: what is no number is NULL, and nobody sees more by it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from rtp.quality import Losses, quality
from sipua.media_figures import FarEnd, MediaFigures
from tests.storage import shapes

HEARD = MediaFigures(
    sent=500,
    received=450,
    lost=50,
    late=3,
    jitter_ms=4.25,
    dropped={"replayed": 2, "empty": 1},
    buffer={"put": 450, "lost": 53, "delay_ms_p95": None},
    quality=quality(Losses(500, 50, 25), 70),
    far_end=FarEnd(5, 1.0, 2.5, 41.5),
)


def one(database: str, rtp: Any, **more: Any) -> dict[str, Any] | None:
    """The row of a call with these figures."""
    with psycopg.connect(database, row_factory=dict_row) as connection:
        connection.execute("DELETE FROM voice_calls")
        connection.execute(
            "INSERT INTO voice_calls (direction, trunk, metadata) VALUES ('inbound', 'mtn', %s)",
            (Jsonb({"codec": "PCMU", "rtp": rtp} | more),),
        )
        return connection.execute("SELECT * FROM sipua.call_media").fetchone()


def test_both_directions_are_columns(database: str) -> None:
    row = one(database, HEARD.as_dict())
    assert row is not None
    assert (row["trunk"], row["direction"], row["codec"]) == ("mtn", "inbound", "PCMU")
    assert (row["sent"], row["received"], row["lost"], row["late"], row["dropped"]) == (500, 450, 50, 3, 3)
    assert (row["loss_percent"], row["burst_ratio"], row["jitter_ms"]) == (
        10,
        Decimal("1.8"),
        Decimal("4.25"),
    )
    assert HEARD.quality is not None
    assert (row["mos"], row["r"]) == (
        Decimal(str(round(HEARD.quality.mos, 2))),
        Decimal(str(round(HEARD.quality.r, 2))),
    )
    far_end = row["far_end_lost"], row["far_end_lost_percent"], row["far_end_jitter_ms"], row["rtt_ms"]
    assert far_end == (5, 1, Decimal("2.5"), Decimal("41.5"))
    assert row["buffer"]["lost"] == 53


@pytest.mark.parametrize(
    "rtp",
    [MediaFigures(sent=3).as_dict(), {"sent": 3, "quality": {"mos": "good"}, "far_end": [], "lost": -1}],
    ids=["nothing heard", "written by somebody else"],
)
def test_what_was_not_measured_is_null(database: str, rtp: Any) -> None:
    row = one(database, rtp)
    assert row is not None
    names = ("mos", "r", "loss_percent", "jitter_ms", "far_end_lost", "rtt_ms")
    assert [row[name] for name in names] == [None] * len(names)
    assert row["sent"] == 3


@pytest.mark.parametrize("rtp", [{}, "none", {"sent": None}])
def test_a_call_without_media_has_no_row(database: str, rtp: Any) -> None:
    assert one(database, rtp) is None


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_only_the_service_reads_it(database: str, role: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(shapes.ROLES.encode())
        connection.execute(f"GRANT USAGE ON SCHEMA sipua TO {role}; SET ROLE {role}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM sipua.call_media")
