"""Metrics: no foreign word makes them grow, what stands elsewhere is read, and the names follow the conventions."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import httpx
import pytest
from fastapi import APIRouter
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from rtp.playout import PlayoutCounters
from rtp.ports import PortAllocator
from sipua.clock import SystemClock
from sipua.feed import QUEUE_LIMIT, Feed
from sipua.http import bind_tcp, running
from sipua.http_measure import measured
from sipua.media_figures import PlayoutFigures
from sipua.media_ports import MediaPorts
from sipua.metric_families import OTHER, SERIES_MAX, VALUE_MAX_CHARS, Buckets, Described, Labelled, Standing
from sipua.metrics import Metrics
from sipua.occupancy import Occupancy
from sipua.realtime.counters import Counters
from sipua.trunk import Trunk
from sipua.web.site import build_site
from storage.durations import BOUNDS_S, Durations
from tests.web.serving import PLENTY, a_guard


def new() -> Metrics:
    return Metrics(node="", worker=0, instance="", version="")


@given(st.lists(st.tuples(st.text(), st.one_of(st.integers(), st.text())), max_size=40), st.integers(0, 480))
@settings(max_examples=15, deadline=None)
def test_foreign_words_make_no_family_grow_without_end(
    words: list[tuple[object, object]], there: int
) -> None:
    registry = CollectorRegistry()
    family = Labelled(Counter("x", "x", ("a", "b"), registry=registry))
    for number in range(there):
        family.labels("known", number).inc()
    for _ in range(14):
        for a, b in words:
            family.labels(a, f"{b}{_}").inc()
    samples = [each for found in registry.collect() for each in found.samples if each.name.endswith("_total")]
    assert len(samples) <= SERIES_MAX
    assert sum(each.value for each in samples) == there + 14 * len(words)  # nothing uncounted
    assert all(len(value) <= VALUE_MAX_CHARS for each in samples for value in each.labels.values())


def test_what_is_too_many_is_other() -> None:
    family = Labelled(Counter("x", "x", ("a",), registry=None))
    for number in range(SERIES_MAX + 50):
        family.labels(number).inc()
    assert family.labels(OTHER)._value.get() == 51
    assert family.labels(1)._value.get() == 1


STOOD = (
    Described("x_total", "counter", ("why",), "x"),
    Described("y", "gauge", (), "y"),
    Described("z_seconds", "histogram", (), "z"),
    Described("w", "gauge", (), "nobody reads it"),
)


def test_what_stands_elsewhere_is_what_it_was_at_the_last_taking() -> None:
    registry, standing = CollectorRegistry(), Standing(STOOD)
    registry.register(standing)
    count = [3.0]
    standing.reads({"x_total": lambda: {("full",): count[0]}, "y": lambda: True})
    standing.reads({"z_seconds": lambda: Buckets([(0.5, 1), (float("inf"), 2)], 7.5)})
    standing.take()
    count[0] = 4.0
    assert registry.get_sample_value("x_total", {"why": "full"}) == 3
    assert registry.get_sample_value("y") == 1
    assert registry.get_sample_value("z_seconds_bucket", {"le": "0.5"}) == 1
    assert registry.get_sample_value("z_seconds_count") == 2
    assert registry.get_sample_value("z_seconds_sum") == 7.5
    assert registry.get_sample_value("w") is None
    with pytest.raises(KeyError):
        standing.reads({"v": lambda: 1.0})


def test_every_name_says_what_it_is() -> None:
    described = new().described
    names = [each.name for each in described]
    assert len(names) == len(set(names)) > 80
    for each in described:
        assert each.name.startswith("sipua_")
        assert (each.kind == "counter") == each.name.endswith("_total"), each.name
        assert not each.name.endswith(("_ms", "_milliseconds", "_kb", "_mb", "_percent", "_minutes")), (
            each.name
        )
        assert each.help
        assert not each.help.endswith(".")


@pytest.mark.peer
def test_promtool_has_nothing_against_them() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("apt-get install prometheus")
    metrics = new()
    metrics.standing.reads({each.name: _one(each) for each in metrics.standing.rows})
    metrics.standing.take()
    told = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.render(), capture_output=True, timeout=20
    )
    assert (told.returncode, told.stderr.decode()) == (0, "")


def _one(row: Described) -> Callable[[], float | Buckets | dict[tuple[str, ...], float]]:
    if row.kind == "histogram":
        return lambda: Buckets([(1.0, 1), (float("inf"), 1)], 0.5)
    return lambda: {("x",) * len(row.labels): 1.0}


async def test_requests_are_counted_by_the_route_that_took_them() -> None:
    metrics, router = new(), APIRouter()

    @router.get("/things/{name}")
    async def thing(name: str) -> dict[str, str]:
        return {"name": name}

    site = build_site(a_guard(), SystemClock(), routers=[router], rate=PLENTY)
    asked = [
        ("GET", "/things/1"),
        ("GET", "/things/2?x=y"),
        ("GET", "/nothing"),
        ("POST", "/<b>"),
        ("BREW", "/x"),
    ]
    async with (
        running(measured(site, metrics, SystemClock()), bind_tcp("127.0.0.1", 0, "HTTP")) as (host, port),
        httpx.AsyncClient(base_url=f"http://{host}:{port}") as client,
    ):
        for method, path in asked:
            await client.request(method, path)
    families = {each.name: each for each in text_string_to_metric_families(metrics.render().decode())}
    counted = {
        (each.labels["method"], each.labels["route"], each.labels["code"]): each.value
        for each in families["sipua_http_requests"].samples
        if each.name.endswith("_total")
    }
    assert counted == {
        ("GET", "/things/{name}", "200"): 2, ("GET", OTHER, "404"): 1, ("POST", OTHER, "404"): 1,
        (OTHER, OTHER, "404"): 1,
    }  # fmt: skip


async def test_a_session_counts_once_and_is_open_until_then() -> None:
    metrics, first, second = new(), Counters(bytes_sent=5, appends_dropped=2, waiting=7), Counters()
    metrics.session_opened(first, "first", 0.3)
    metrics.session_opened(second, "rotation", 0.5)
    assert [each.waiting for each in metrics.sessions.values()] == [7, 0]
    metrics.session_ended(first)
    metrics.session_ended(first)
    assert list(metrics.sessions.values()) == [second]
    assert metrics.registry.get_sample_value("sipua_realtime_bytes_total", {"direction": "sent"}) == 5
    dropped = metrics.registry.get_sample_value("sipua_realtime_messages_dropped_total", {"kind": "uplink"})
    assert dropped == 2


def test_speech_that_nobody_heard_is_told_in_seconds() -> None:
    counted = PlayoutCounters(
        frames=50, padded=1, faded=2, underruns=3, flushed_bytes=12_000, after_flush_bytes=4000
    )
    figures = PlayoutFigures.of(counted, 8000)
    assert figures.frames == {"spoken": 50, "padded": 1, "faded": 2}
    assert (figures.underruns, figures.dropped_s) == (3, {"interrupted": 1.5, "late": 0.5, "overflow": 0.0})


async def test_readers_that_are_too_slow_are_counted_also_when_they_are_gone() -> None:
    feed = Feed()
    with feed.subscribe(), feed.subscribe():
        for _ in range(QUEUE_LIMIT + 3):
            feed.publish({})
        assert (feed.readers, feed.longest, feed.dropped) == (2, QUEUE_LIMIT, 6)
    assert (feed.readers, feed.longest, feed.dropped) == (0, 0, 6)


@given(st.lists(st.floats(0, 100)))
def test_durations_fall_into_their_buckets(seconds: list[float]) -> None:
    durations = Durations()
    for each in seconds:
        durations.add(each)
    assert durations.cumulative() == [
        (bound, sum(each <= bound for each in seconds)) for bound in (*BOUNDS_S, float("inf"))
    ]
    assert durations.sum_s == pytest.approx(sum(seconds))


@pytest.mark.parametrize("limit", [4, 1024])
def test_slots_are_those_of_pjsua_whatever_is_kept(limit: int) -> None:
    occupancy = Occupancy()
    assert occupancy.slots() == 0
    occupancy.open(limit, lambda: 0)
    assert occupancy.slots() == limit


def test_ports_of_all_ranges_are_counted() -> None:
    ports = MediaPorts(PortAllocator(0, 0))
    trunk = Trunk.model_validate({"schema": 1, "name": "a", "provider": "x", "inbound_acl": ["127.0.0.1/32"]})
    assert ports.counts() == (0, 0)
    opened = ports.open(trunk, "127.0.0.1")
    assert ports.counts() == (1, 0)  # of what the system gives there is no end
    ports.give_back(opened.sockets)
    assert ports.counts() == (0, 0)
    assert PortAllocator(20_000, 20_009).size == 5
