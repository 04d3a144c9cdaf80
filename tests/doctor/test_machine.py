"""Ports and clocks as doctor judges them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from sipua.checks.machine import (
    Instant,
    agent,
    ahead_s,
    clock,
    http_clock,
    kernel_ports,
    port_ranges,
    rtp_ports,
)
from sipua.control import SOCKET_NAME, ControlServer
from sipua.feed import Feed
from sipua.settings import Settings
from sipua.trunk import Trunk
from tests.doctor.responders import stream_server
from tests.ports import free_port

KERNEL = (32768, 60999)
START = Instant(datetime(2026, 1, 1, tzinfo=UTC), 100.0)


def settings(low: int, high: int, sip: int = 5060) -> Settings:
    return Settings.model_validate({"rtp": {"port_min": low, "port_max": high}, "sip": {"port": sip}})


def trunk(low: int, high: int, **values: object) -> Trunk:
    fixed = {"schema": 1, "name": "mtn", "provider": "mtn", "rtp_port_min": low, "rtp_port_max": high}
    return Trunk.model_validate(fixed | values)


@pytest.mark.parametrize(
    ("mine", "status", "said"),
    [
        (settings(16000, 16999), "ok", "16000-16999: 500 calls"),
        (settings(32000, 33000), "warn", "overlaps the kernel's source ports 32768-60999"),
        (settings(0, 0), "warn", "any free port"),
        (settings(5000, 6000), "fail", "sip.port = 5060 lies in it"),
        (settings(16000, 16019), "ok", "10 calls"),
    ],
)
def test_rtp_ports(mine: Settings, status: str, said: str) -> None:
    check = rtp_ports(mine, (), KERNEL, ())
    assert (check.status, check.is_configuration) == (status, status == "fail")
    assert said in check.detail
    assert bool(check.todo) == (status != "ok")


def test_what_the_kernel_leaves_alone_does_not_overlap() -> None:
    assert rtp_ports(settings(32000, 33000), (), KERNEL, ((32000, 33000),)).status == "ok"
    assert rtp_ports(settings(32000, 33000), (), KERNEL, ((32000, 32999),)).status == "warn"


def test_the_ports_of_a_trunk_count_while_it_is_enabled() -> None:
    own = trunk(40000, 40999)
    assert "40000-40999: 500 calls, overlaps" in rtp_ports(settings(16000, 16999), [own], KERNEL, ()).detail
    off = trunk(40000, 40999, enabled=False)
    assert rtp_ports(settings(16000, 16999), [off], KERNEL, ()).status == "ok"


def test_a_range_holds_the_calls_that_its_trunks_may_have() -> None:
    shared = [trunk(0, 0, name=name, max_channels=6) for name in ("one", "two")]
    check = rtp_ports(settings(16000, 16019), shared, KERNEL, ())
    assert (check.status, check.detail) == ("warn", "16000-16019: 10 calls, of 12 that max_channels allows")
    assert rtp_ports(settings(16000, 16019), shared[:1], KERNEL, ()).status == "ok"
    own = rtp_ports(settings(16000, 16019), [trunk(17000, 17009, max_channels=6)], KERNEL, ())
    assert (own.status, own.todo) == (
        "warn",
        "widen trunk mtn: rtp_port_min to rtp_port_max: two ports a call",
    )


def test_ports_as_the_kernel_writes_them() -> None:
    assert port_ranges("\n") == ()
    assert port_ranges("8000,16000-16999\n") == ((8000, 8000), (16000, 16999))
    (low, high), _ = kernel_ports()
    assert 0 < low < high < 65536


@pytest.mark.parametrize(
    ("ahead", "status", "said"),
    [
        ({}, "warn", "nobody told the time: not compared"),
        ({"a": 0.3, "b": -0.4}, "ok", "agrees with a, b within 1 s"),
        ({"a": 42.0}, "warn", "42 s ahead of a"),
        ({"a": -4000.0}, "fail", "4000 s behind a"),
        ({"a": 0.1, "b": 0.2, "c": 9000.0}, "ok", "agrees with a, b, c"),  # one of three is wrong itself
    ],
)
def test_the_clock_is_held_against_those_of_others(ahead: dict[str, float], status: str, said: str) -> None:
    ended = Instant(START.wall + timedelta(seconds=3), 103.0)
    check = clock(ahead, START, ended)
    assert (check.status, bool(check.todo)) == (status, status != "ok")
    assert said in check.detail


def test_a_date_tells_whole_seconds() -> None:
    """Read at 0.0, 0.25, 0.5 and 0.75 of a second, the mean is what counts."""
    found = [ahead_s(START.wall + timedelta(seconds=part / 4), START.wall) for part in range(4)]
    assert sum(found) / 4 == pytest.approx(-0.125)


def test_a_clock_that_was_set_meanwhile_is_noticed() -> None:
    check = clock({"a": 0.0}, START, Instant(START.wall + timedelta(seconds=33), 103.0))
    assert (check.status, check.detail) == ("warn", "was set by +30.0 s while this ran")


async def test_a_web_server_tells_the_time() -> None:
    late = format_datetime(datetime.now(UTC) - timedelta(seconds=60), usegmt=True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 401 Unauthorized\r\nDate: {late}\r\nContent-Length: 0\r\n\r\n".encode())
        await reader.read()

    async with stream_server(serve) as port:
        ahead = await http_clock(f"http://127.0.0.1:{port}/v1")
    assert ahead is not None
    assert 58 < ahead < 64
    assert await http_clock(f"http://127.0.0.1:{free_port()}/v1") is None


# ---- an agent that runs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refused", "held", "status"),
    [
        ("", "", "ok"),
        ("a.toml: domian: unknown key", "", "warn"),
        ("", "started without the database, rows wait in the spool: connection refused", "warn"),
    ],
)
async def test_an_agent_that_runs_is_asked_for_its_trunk_files_and_its_ledger(
    tmp_path: Path, refused: str, held: str, status: str
) -> None:
    async def answer(_: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            "pid": 7, "sip": "127.0.0.1:5060", "calls": 2, "ledger_held": held.rpartition(": ")[2],
            "trunks": {"error": refused},
        }  # fmt: skip

    mine = Settings.model_validate({"state_dir": str(tmp_path)})
    runs, check = await agent(mine)
    assert (runs, check.status) == (False, "ok")
    server = ControlServer(tmp_path / SOCKET_NAME, Feed(), {"status": answer})
    await server.start()
    try:
        runs, check = await agent(mine)
    finally:
        await server.stop()
    assert (runs, check.status) == (True, status)
    assert check.detail.startswith("runs: pid 7, SIP 127.0.0.1:5060, 2 calls up")
    assert refused in check.detail
    assert held in check.detail
