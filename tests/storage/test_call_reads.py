"""Calls as they are read back: lists and their pages, look-up, what goes on now, days, one call's story."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from storage.call_filter import CallFilter
from storage.call_reads import MOST_LIVE, list_calls, live_calls, live_contract, per_day
from storage.call_story import PARTS, call_story, find_call
from storage.facts import (
    CallChanged,
    CallCreated,
    CallEnded,
    ConsentAnswered,
    Event,
    Group,
    RecordingKept,
    SessionEnded,
    SessionOpened,
    ToolCalled,
    ToolDone,
    Transcript,
)
from storage.reading import ReadPool
from storage.trunk_facts import CallAttempt, DrillRun, TrunkState
from storage.trunk_reads import trunk_states
from storage.writer import LedgerWriter
from tests.storage.rows import run

T0 = datetime(2026, 11, 22, 9, tzinfo=UTC)
ANN, BEN = "+250788000001", "+250788000002"


def uuid(number: int) -> UUID:
    return UUID(int=number)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def created(number: int, **known: Any) -> CallCreated:
    usual: dict[str, Any] = {"from_e164": ANN, "to_e164": "+250788000099", "direction": "inbound"}
    return CallCreated(id=uuid(number), **(usual | {"started_at": at(number)} | known))


async def write(dsn: str, *facts: Any) -> None:
    writer = LedgerWriter(dsn, batch_ms=5)
    writer.put(tuple(facts))
    assert await writer.close(5)
    assert not writer.stats.poisoned


@pytest.fixture
async def pool(database: str) -> AsyncIterator[ReadPool]:
    async with ReadPool(database) as pool:
        yield pool


async def ids(pool: ReadPool, wanted: CallFilter) -> list[int]:
    return [UUID(call["id"]).int for call in (await list_calls(pool, wanted)).calls]


FILTERS = [
    (CallFilter(), [5, 4, 3, 2, 1]),
    (CallFilter(status="busy"), [3]),
    (CallFilter(direction="outbound"), [3]),
    (CallFilter(trunk="mtn"), [4, 3]),
    (CallFilter(provider="twilio"), [2]),
    (CallFilter(channel="chat"), [5]),
    (CallFilter(language="sw"), [4]),
    (CallFilter(from_number=ANN), [5, 2, 1]),
    (CallFilter(from_number="250 788-000-001"), [5, 2, 1]),
    (CallFilter(to_number=BEN), [3]),
    (CallFilter(digits="0002"), [4, 3]),
    (CallFilter(digits="001"), [5, 2, 1]),
    (CallFilter(since=at(2), until=at(4)), [3, 2]),
    (CallFilter(is_live=True), [5, 4, 2, 1]),
    (CallFilter(is_live=False), [3]),
    (CallFilter(trunk="mtn", direction="inbound"), [4]),
    (CallFilter(trunk="'; DROP TABLE voice_calls; --"), []),
    (CallFilter(from_number="%"), []),
]


async def test_filters(pool: ReadPool, database: str) -> None:
    await write(
        database,
        created(1),
        created(2, provider="twilio", twilio_call_sid="CA2"),
        created(3, direction="outbound", from_e164="+250788000099", to_e164=BEN, trunk="mtn"),
        created(4, from_e164=BEN, trunk="mtn", locale="sw"),
        created(5, channel="chat"),
        CallEnded(uuid(3), at(60), 0, "busy"),
    )
    for wanted, expected in FILTERS:
        assert await ids(pool, wanted) == expected, wanted


BAD = [
    ({"status": "done"}, "status 'done': allowed are initiated, ringing"),
    ({"direction": "in"}, "direction 'in': allowed are inbound, outbound"),
    ({"digits": "12"}, "digits: allowed are the last 3 to 20 digits"),
    ({"digits": "12%"}, "digits: allowed"),
    ({"trunk": "a\0b"}, "trunk: allowed are up to 255 printable"),
    ({"from_number": "1" * 300}, "from_number: allowed"),
    ({"since": datetime(2026, 1, 1)}, "needs its offset"),
    ({"since": at(2), "until": at(2)}, "must be later than since"),
]


@pytest.mark.parametrize(("given", "said"), BAD)
def test_what_no_filter_is(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CallFilter(**given)


async def test_pages_neither_repeat_nor_skip(pool: ReadPool, database: str) -> None:
    """Also calls of the same moment, and while new ones come."""
    await write(database, *(created(n, started_at=T0) for n in range(1, 8)))
    seen: list[str] = []
    mark: str | None = None
    for page in range(4):
        found = await list_calls(pool, CallFilter(), mark, 2)
        seen += [call["id"] for call in found.calls]
        mark = found.next
        await write(database, created(100 + page, started_at=at(page + 1)))
    assert seen == [str(uuid(n)) for n in range(7, 0, -1)]
    assert mark is None


@pytest.mark.parametrize(
    "mark", ["x", "2026-11-22T09:00:00Z", "2026-11-22T09:00:00~" + str(uuid(1)), "a~b~c"]
)
async def test_a_mark_that_is_none(pool: ReadPool, mark: str) -> None:
    with pytest.raises(ValueError, match="after: allowed is the `next`"):
        await list_calls(pool, CallFilter(), mark)


@pytest.mark.parametrize("limit", [0, -1, 201])
async def test_a_page_is_bounded(pool: ReadPool, limit: int) -> None:
    with pytest.raises(ValueError, match="allowed are 1 to 200"):
        await list_calls(pool, CallFilter(), None, limit)


async def test_look_up(pool: ReadPool, database: str) -> None:
    await write(
        database,
        created(1, twilio_call_sid="CA1", sip_session_id="leg@phone"),
        created(2, mtn_call_sid="M2", sip_session_id="leg@phone"),
        CallChanged(uuid(1), at(1), openai_call_id="rtc_1"),
    )
    keys: dict[str | UUID, int] = {str(uuid(1)): 1, uuid(2): 2, "CA1": 1, "M2": 2, "rtc_1": 1, "leg@phone": 2}
    for key, number in keys.items():
        assert await find_call(pool, key) == uuid(number), key
    for key in ("", "CA", "x\0y", "y" * 400, uuid(3)):
        assert await find_call(pool, key) is None
    assert await call_story(pool, "CA9") is None


def talk(id: int) -> Group:
    """A call with a row of everything."""
    of: dict[str, Any] = {"call_id": uuid(id)}
    return (
        created(id, direction="outbound", from_e164=None, to_e164=ANN, started_at=T0, metadata={"node": "a"}),
        CallAttempt(uuid(11), **of, ordinal=1, trunk="a", target="x", code=503, reason="service_unavailable", ms=40,
                    decision="next", started_at=at(0.1)),
        Event(uuid(12), **of, type="call_started", t=at(0)),
        Event(uuid(13), **of, type="answered", t=at(1), payload={"codec": "PCMU"}),
        SessionOpened(uuid(14), **of, session_id="sess_1", model="gpt-realtime", voice="marin", started_at=at(0.5)),
        ConsentAnswered(uuid(15), **of, at=at(2), text="May we?", granted=True, channel="voice"),
        RecordingKept(uuid(15), "file:///r.wav"),
        Transcript(uuid(17), **of, sequence=2, role="user", content="Hello", t=at(4)),
        Transcript(uuid(16), **of, sequence=1, role="assistant", content="Hi", t=at(3)),
        Event(uuid(18), **of, type="transcript_segment", t=at(3), payload={"sequence": 1}),
        ToolCalled(uuid(19), **of, server=None, tool="search_services", args={"query": "moto"}, t=at(5)),
        ToolDone(uuid(19), **of, success=False, error="no such place"),
        SessionEnded(uuid(14), **of, ended_at=at(6)),
        Event(uuid(20), **of, type="call_ended", t=at(7), payload={"reason": "caller_hangup"}),
        CallEnded(
            uuid(id), at(7), 6, "completed", "caller_hangup",
            {
                "rtp": {"sent": 300, "received": 290, "lost": 2, "jitter_ms": 1.5},
                "quality": {
                    "from": at(1).isoformat(),
                    "points": [{"at_s": 2.5, "mos": 4.3, "loss_percent": 0.5, "jitter_ms": 1.2}, {"no": "time"}],
                    "turns": [{"at_s": 3, "ms": 420}],
                },
            },
        ),
    )  # fmt: skip


async def test_a_story_in_order(pool: ReadPool, database: str) -> None:
    await write(database, *talk(1))
    story = await call_story(pool, uuid(1))
    assert story is not None
    assert [(entry["kind"], entry["what"], entry["text"]) for entry in story["timeline"]] == [
        ("sip", "started", ""),
        ("attempt", "invite", "1. a: 503 service_unavailable after 40 ms, next"),
        ("session", "opened", "gpt-realtime, voice marin"),
        ("sip", "answered", "codec PCMU"),
        ("consent", "answer", "yes"),
        ("conversation", "said", "assistant: Hi"),
        ("media", "quality", "MOS 4.3, loss 0.5 %, jitter 1.2 ms"),
        ("conversation", "said", "user: Hello"),
        ("tool", "search_services", "search_services: no such place"),
        ("session", "closed", "completed"),
        ("sip", "ended", "reason caller_hangup"),
        ("media", "summary", "300 packets sent, 290 received, 2 lost, jitter 1.5 ms"),
    ]
    assert story["cut"] == []
    assert story["call"]["ended_at"] == "2026-11-22T09:00:07Z"
    assert [each["url"] for each in story["recordings"]] == ["file:///r.wav"]
    assert story["quality"]["turns"] == [{"at_s": 3, "ms": 420}]
    assert {name: len(story[name]) for name in PARTS} == {
        "sessions": 1, "transcripts": 2, "events": 4, "tools": 1, "consents": 1, "wa_threads": 0, "attempts": 1,
    }  # fmt: skip


async def test_a_long_story_is_cut_and_says_so(pool: ReadPool, database: str) -> None:
    """The latest rows stay; long texts and JSON are shortened."""
    most = PARTS["transcripts"].most
    await write(database, created(1))
    run(
        database,
        f"""INSERT INTO public.transcripts (call_id, role, content, t)
        SELECT '{uuid(1)}', 'user', repeat('x', 5000) || n, now() + n * interval '1 s'
          FROM generate_series(1, {most + 5}) AS n;
        INSERT INTO public.voice_events (call_id, type, payload)
        SELECT '{uuid(1)}', 'error', jsonb_build_object('m', (
          SELECT string_agg(md5(n::text), '') FROM generate_series(1, 2000) n));""",
    )
    story = await call_story(pool, uuid(1))
    assert story is not None
    assert story["cut"] == ["transcripts"]
    assert len(story["transcripts"]) == most
    assert {len(row["content"]) for row in story["transcripts"]} == {4000}
    times = [row["t"] for row in story["transcripts"]]
    assert times == sorted(times)
    assert [*story["events"][0]["payload"]] == ["cut"]


async def test_what_goes_on_now(pool: ReadPool, database: str) -> None:
    now = datetime.now(UTC)
    answered = now - timedelta(seconds=30)
    await write(
        database,
        created(
            1, twilio_call_sid="CA1", started_at=now - timedelta(seconds=40), country="RW", project_id="p"
        ),
        created(2, started_at=now - timedelta(seconds=5), direction="outbound", to_e164=BEN),
        created(3),
        CallEnded(uuid(3), at(60), 0, "busy"),
        Event(uuid(11), uuid(1), "answered", answered),
        Transcript(uuid(12), uuid(1), 1, "assistant", "Hi", t=answered + timedelta(seconds=1)),
        Transcript(uuid(13), uuid(1), 2, "user", "Moto please", t=answered + timedelta(seconds=9)),
        ConsentAnswered(uuid(14), uuid(1), answered, "May we?", False, "voice"),
        CallChanged(uuid(1), now, metadata={"transfer": {"department": "sales"}, "usage": {"cost_usd": 0.5}}),
    )
    found = await live_calls(pool)
    assert [UUID(call["id"]).int for call in found.calls] == [2, 1]
    assert not found.is_cut
    ringing, talking = (live_contract(call) for call in found.calls)
    assert 30 <= talking.pop("durationSeconds") < 60
    assert talking == {
        "callSid": "CA1",
        "tenantId": "p",
        "leadName": None,
        "leadPhone": ANN,
        "agentRegion": "RW",
        "startedAt": found.calls[1]["started_at"],
        "lastMediaAt": (answered + timedelta(seconds=9)).isoformat().replace("+00:00", "Z"),
        "status": "active",
        "direction": "inbound",
        "warmTransferQueue": "sales",
        "optOutDetected": True,
        "transcriptPreview": "user: Moto please",
    }
    assert ringing["callSid"] == str(uuid(2))
    assert (ringing["leadPhone"], ringing["lastMediaAt"], ringing["durationSeconds"]) == (BEN, None, 0)
    assert found.calls[1]["cost_usd"] == 0.5


async def test_too_many_live_calls_are_cut(pool: ReadPool, database: str) -> None:
    run(
        database,
        f"INSERT INTO public.voice_calls (direction) SELECT 'inbound' FROM generate_series(1, {MOST_LIVE + 1})",
    )
    found = await live_calls(pool)
    assert (len(found.calls), found.is_cut) == (MOST_LIVE, True)


async def test_days_are_those_of_the_zone(pool: ReadPool, database: str) -> None:
    """Kigali is two hours ahead: 21:59:59 UTC is still that day there, 22:00 the next."""
    usage = {"usage": {"cost_usd": 0.25}}
    night = datetime(2026, 11, 20, 22, tzinfo=UTC)
    await write(
        database,
        created(1, started_at=night - timedelta(seconds=1), metadata={"usage": {"cost_usd": "free"}}),
        created(2, started_at=night, metadata=usage),
        created(3, started_at=night + timedelta(hours=1), metadata=usage),
        CallEnded(uuid(2), night + timedelta(seconds=90), 90, "completed", "caller_hangup"),
        CallEnded(uuid(3), night + timedelta(hours=1), 0, "no_answer", "caller_cancelled"),
    )
    days = await per_day(pool, "Africa/Kigali", 3, date(2026, 11, 22))
    assert [(day["day"], day["calls"], day["minutes"], day["cost_usd"]) for day in days] == [
        ("2026-11-22", 0, 0, 0),
        ("2026-11-21", 2, 1.5, 0.5),
        ("2026-11-20", 1, 0, 0),
    ]
    assert days[1]["by_status"] == {"completed": 1, "no_answer": 1}
    assert days[1]["by_outcome"] == {"caller_hangup": 1, "caller_cancelled": 1}
    for zone in ("Kigali", "../etc/passwd", ""):
        with pytest.raises(ValueError, match="time zone"):
            await per_day(pool, zone, 3, date(2026, 11, 22))
    with pytest.raises(ValueError, match="days 401"):
        await per_day(pool, "UTC", 401, date(2026, 11, 22))


async def test_trunks_and_drills(pool: ReadPool, database: str) -> None:
    of: dict[str, Any] = {"node": "n", "worker": 0, "instance": uuid(1), "trunk": "mtn", "seen_at": T0}
    drill = DrillRun(uuid(5), uuid(6), "black-hole", True, 3, 0, "1", "n", at(0), at(9))
    await write(
        database,
        TrunkState(**of, target="acme", what="registration", state="registered"),
        TrunkState(**of, target="192.0.2.1:5060;udp", what="probe", state="up", latency_ms=4.5),
        drill,
        replace(drill, id=uuid(7), held=False, started_at=at(20), ended_at=at(30)),
    )
    found = await trunk_states(pool)
    (trunk,) = found["trunks"]
    assert [(each["target"], each["state"]) for each in trunk["registrations"]] == [("acme", "registered")]
    assert [(each["target"], each["latency_ms"]) for each in trunk["targets"]] == [
        ("192.0.2.1:5060;udp", 4.5)
    ]
    assert [(each["drill"], each["held"]) for each in found["drills"]] == [("black-hole", False)]
