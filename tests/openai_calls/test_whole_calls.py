"""Whole calls that come in at OpenAI: webhook, accept, conversation by the sideband, rows; and what may go wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from openai.types.realtime import call_accept_params
from pydantic import TypeAdapter

from sipua.calls_up import AllCalls
from tests.openai_calls.house import CALLER, OUR_LINE, a_house, rows, until

SCRIPT = """
user_prefix = ""
[greeting]
say = "Hello."
audio = "greeting_en.wav"
[[turn]]
user = "A moto to the airport, please."
[[turn.tool]]
name = "book_transport"
arguments = { vehicle_type = "moto", pickup_location = "Market", dropoff_location = "Airport" }
say = "It is booked."
audio = "booked_en.wav"
[[turn]]
user = "Bye."
say = "Goodbye."
audio = "moto_en.wav"
[[turn.tool]]
name = "hang_up"
"""


async def test_a_call_with_a_tool_until_its_caller_hangs_up(tmp_path: Path, database: str) -> None:
    async with a_house(tmp_path, database, script=SCRIPT) as house:
        call = await house.dial()
        assert call["answers"] == [200]
        await house.said("Hello.")
        await house.drive(call, "say")
        await house.said("It is booked.")
        await house.drive(call, "hangup")
        (row,) = await house.ended()
        story = await house.look(call)
        assert house.metrics.calls.labels("inbound", "openai", "completed", "caller_hangup")._value.get() == 1
        assert house.metrics.calls_active._value.get() == 0
        assert house.metrics.turn_seconds._sum.get() > 0
    assert {name: row[name] for name in WANTED} == WANTED | {"openai_call_id": call["call_id"]}
    assert row["first_time_to_assistant_seconds"] is not None
    assert row["metadata"]["usage"]["responses"] == 3
    assert "rtp" not in row["metadata"]
    said = rows(database, "SELECT role, content FROM transcripts ORDER BY t")
    assert [(each["role"], each["content"]) for each in said] == [
        ("assistant", "Hello."),
        ("user", "A moto to the airport, please."),
        ("assistant", "It is booked."),
    ]
    segments = rows(database, "SELECT payload FROM voice_events WHERE type = 'transcript_segment'")
    (answer,) = (each["payload"] for each in segments if "latency_seconds" in each["payload"])
    assert (answer["sequence"], answer["role"]) == (3, "assistant")
    (tool,) = rows(database, "SELECT * FROM mcp_tool_calls")
    assert (tool["tool"], tool["success"]) == ("book_transport", True)
    (order,) = rows(database, "SELECT * FROM sipua.service_requests")
    assert order["reference"] == tool["result"]["reference"]
    (session,) = rows(database, "SELECT * FROM openai_sessions")
    assert (session["status"], session["ended_at"] is None) == ("completed", False)
    types = [each["type"] for each in rows(database, "SELECT type FROM voice_events ORDER BY t")]
    assert {"webhook", "ringing", "answered", "call_started", "tool_call", "call_ended"} <= set(types)
    assert types.count("webhook") == types.count("answered") == types.count("call_ended") == 1
    (webhook,) = rows(database, "SELECT * FROM sipua.webhooks")
    assert (webhook["id"], webhook["outcome"], webhook["call_id"]) == (
        call["webhook_id"],
        "accepted",
        row["id"],
    )
    judge_accepted(story["accepted"])


WANTED: dict[str, Any] = {
    "direction": "inbound", "from_e164": CALLER, "to_e164": OUR_LINE, "locale": "en", "country": "RW",
    "provider": "openai", "trunk": "openai", "status": "completed", "outcome": "caller_hangup", "channel": "voice",
    "openai_call_id": "",
}  # fmt: skip


def judge_accepted(accepted: dict[str, Any]) -> None:
    """By the SDK's types."""
    TypeAdapter(call_accept_params.CallAcceptParams).validate_python(accepted)
    assert not set(accepted) - set(call_accept_params.CallAcceptParams.__annotations__)
    assert accepted["audio"]["input"]["turn_detection"]["interrupt_response"] is True
    assert "format" not in accepted["audio"]["input"]
    assert any(tool["name"] == "book_transport" for tool in accepted["tools"])
    assert accepted["instructions"]


async def test_the_agent_hangs_up_when_its_goodbye_has_been_heard(tmp_path: Path, database: str) -> None:
    script = SCRIPT.replace('name = "book_transport"', 'name = "hang_up"').replace(
        'arguments = { vehicle_type = "moto", pickup_location = "Market", dropoff_location = "Airport" }\n',
        "",
    )
    async with a_house(tmp_path, database, script=script) as house:
        call = await house.dial()
        await house.said("Hello.")
        await house.drive(call, "say")
        (row,) = await house.ended()
        story = await house.look(call)
    assert (row["status"], row["outcome"]) == ("completed", "agent_hangup")
    assert (story["state"], story["hung_up"]) == ("over", "by us")


async def test_a_webhook_that_comes_thrice_is_one_call(tmp_path: Path, database: str) -> None:
    async with a_house(tmp_path, database, script=SCRIPT) as house:
        call = await house.dial(deliveries=3)
        assert call["answers"] == [200, 200, 200]
        await house.said("Hello.")
        assert house.line.calls_up == 1
        count = house.metrics.webhooks.labels("realtime.call.incoming", "duplicate")._value.get()
        assert count == 2
        await house.drive(call, "hangup")
        await house.ended()
    assert len(rows(database, "SELECT 1 FROM voice_events WHERE type = 'webhook'")) == 1
    assert len(rows(database, "SELECT 1 FROM voice_calls")) == 1


async def test_the_process_ends_in_order(tmp_path: Path, database: str) -> None:
    async with a_house(tmp_path, database, script=SCRIPT) as house:
        call = await house.dial()
        await house.said("Hello.")
        await house.line.end_all()
        story = await house.look(call)
        assert story["state"] == "over"
        again = await house.dial()
        await until(lambda: None, lambda _: house.line.calls_up == 0)
        assert again["answers"] == [200]
        await house.ended(2)
    first, second = rows(database, "SELECT status, outcome FROM voice_calls ORDER BY started_at")
    assert (first["status"], first["outcome"]) == ("completed", "agent_shutdown")
    assert (second["status"], second["outcome"]) == ("busy", "busy")


async def test_an_operator_ends_a_call_that_is_up(tmp_path: Path, database: str) -> None:
    async with a_house(tmp_path, database, script=SCRIPT) as house:
        calls = AllCalls(NoCalls(), house.line)
        call = await house.dial()
        await house.said("Hello.")
        (id,) = calls.call_ids()
        assert calls.calls_up == 1
        assert not calls.hang_up(uuid4())
        assert calls.hang_up(UUID(id))
        (row,) = await house.ended()
        assert (await house.look(call))["hung_up"] == "by us"
        await house.idle()
        assert (calls.call_ids(), calls.hang_up(UUID(id))) == (frozenset(), False)
    assert (str(row["id"]), row["status"], row["outcome"]) == (id, "completed", "operator_hangup")


class NoCalls:
    """A switchboard with nothing on it."""

    calls_up = 0

    def call_ids(self) -> frozenset[str]:
        return frozenset()

    def hang_up(self, id: UUID) -> bool:
        return False


DROPS = ["1:sideband_drop=9", "1:sideband_drop=14"]


@pytest.mark.parametrize("drop", DROPS)
async def test_a_sideband_that_is_lost_is_joined_again(drop: str, tmp_path: Path, database: str) -> None:
    async with a_house(tmp_path, database, drop, script=SCRIPT) as house:
        call = await house.dial()
        await house.until("SELECT 1 FROM voice_events WHERE type = 'error'")

        await house.joined(call, 2)
        await house.drive(call, "say")
        await house.said("It is booked.")
        await house.drive(call, "hangup")
        (row,) = await house.ended()
    assert (row["status"], row["outcome"]) == ("completed", "caller_hangup")
    assert len(rows(database, "SELECT 1 FROM openai_sessions")) == 1
    done = rows(
        database,
        "SELECT payload ->> 'response_id' AS id FROM voice_events WHERE type = 'openai_response_done'",
    )
    assert len({each["id"] for each in done}) == len(done)


FAULTS: dict[str, tuple[list[str], dict[str, Any], str, str, str]] = {
    # faults, settings, status, outcome, state at the emulator
    "who gave up before": (["call_gone"], {}, "no_answer", "caller_cancelled", "ringing"),
    "a service that fails twice": (["call_error=2"], {}, "completed", "caller_hangup", "over"),
    "a service that always fails": (["call_error=100"], {}, "failed", "realtime_unreachable", "ringing"),
    "a hint that is refused": (["refuse_language=rw"], {}, "completed", "caller_hangup", "over"),
    "refused by setting": (
        [], {"incoming": "reject", "reject_code": 480}, "no_answer", "temporarily_unavailable", "rejected",
    ),
    "an hour is over": (["expire=1"], {}, "completed", "max_duration", "over"),
    "too long": ([], {"max_call_s": 1}, "completed", "max_duration", "over"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("faults", "chosen", "status", "outcome", "state"), FAULTS.values(), ids=FAULTS.keys()
)
async def test_what_may_become_of_a_call(
    faults: list[str],
    chosen: dict[str, Any],
    status: str,
    outcome: str,
    state: str,
    tmp_path: Path,
    database: str,
) -> None:
    async with a_house(tmp_path, database, *faults, script=SCRIPT, **chosen) as house:
        call = await house.dial()
        assert call["answers"] == [200]
        if outcome == "caller_hangup":
            await house.said("Hello.")
            await house.drive(call, "hangup")
        (row,) = await house.ended()
        assert (await house.look(call))["state"] == state
    assert (row["status"], row["outcome"]) == (status, outcome)
    assert row["openai_call_id"] == call["call_id"]


async def test_calls_that_are_left_to_others_have_no_row(tmp_path: Path, database: str) -> None:
    async with a_house(tmp_path, database, incoming="ignore") as house:
        call = await house.dial()
        assert (call["answers"], (await house.look(call))["state"]) == ([200], "ringing")
        (webhook,) = await house.until("SELECT * FROM sipua.webhooks WHERE outcome IS NOT NULL")
    assert (webhook["outcome"], webhook["object_id"]) == ("ignored", call["call_id"])
    assert rows(database, "SELECT 1 FROM voice_calls") == []


async def test_one_more_than_there_is_room_for_is_refused(tmp_path: Path, database: str) -> None:
    async with a_house(tmp_path, database, script=SCRIPT, max_calls=1, busy_code=503) as house:
        first = await house.dial()
        await house.said("Hello.")
        second = await house.dial()
        (row,) = await house.ended()
        assert (row["openai_call_id"], row["outcome"]) == (second["call_id"], "service_unavailable")
        assert (await house.look(second))["status_code"] == 503
        await house.drive(first, "hangup")
        await house.ended(2)


DEPARTMENTS = '[departments.support]\nabout = "Everything"\ntarget = "+250788000009"\n'
TRANSFER = SCRIPT.replace('name = "book_transport"', 'name = "transfer_to_human"').replace(
    'arguments = { vehicle_type = "moto", pickup_location = "Market", dropoff_location = "Airport" }',
    'arguments = { department = "support", reason = "a test" }',
)


async def test_a_caller_is_transferred_by_the_services_refer(tmp_path: Path, database: str) -> None:
    (tmp_path / "departments.toml").write_text(DEPARTMENTS)
    async with a_house(tmp_path, database, script=TRANSFER) as house:
        call = await house.dial()
        await house.said("Hello.")
        await house.drive(call, "say")
        (row,) = await house.ended()
        assert (await house.look(call))["referred_to"] == "tel:+250788000009"
    assert (row["outcome"], row["handoff"], row["handoff_target"]) == ("transferred", True, "support")
    assert row["metadata"]["transfer"]["state"] == "done"


async def test_keys_of_the_telephone_come_by_the_sideband(tmp_path: Path, database: str) -> None:
    async with a_house(tmp_path, database, script=SCRIPT) as house:
        call = await house.dial()
        await house.said("Hello.")
        for key in "12#":
            await house.drive(call, "key", key=key)
        (row,) = await house.until("SELECT content FROM transcripts WHERE role = 'system'")
        assert "keys pressed" in row["content"]
        await house.drive(call, "hangup")
        await house.ended()


async def test_a_closed_line_says_so_and_hangs_up(tmp_path: Path, database: str) -> None:
    hours = f'numbers = ["{OUR_LINE}"]\nhours = ["Mon 00:00-00:01"]\nclosed = "hang_up"\n'
    (tmp_path / "departments.toml").write_text(f'timezone = "Africa/Kigali"\n[lines.main]\n{hours}')
    async with a_house(tmp_path, database, script=SCRIPT) as house:
        await house.dial()
        (row,) = await house.ended()
    assert (row["status"], row["outcome"]) == ("completed", "closed")
