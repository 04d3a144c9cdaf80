"""/openai-realtime: idempotent in one process, in two and after a restart, and whatever the service and database do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sipua.clock import SystemClock
from sipua.http import bind_tcp, running
from sipua.ingest.calls import Surroundings, ToldCalls
from sipua.ingest.charge import charge_of
from sipua.ingest.health import TrunkStanding, VoiceStanding, health
from sipua.ingest.openai import OpenAIHttp
from sipua.openai_calls import OpenAICalls
from sipua.realtime.backend import OpenAIBackend
from sipua.realtime.config import SessionConfig, Transcription
from sipua.realtime.prices import PRICES, price_of
from sipua.web.guard import Role
from sipua.web.ingest import ingest_router
from storage.call_reads import per_day
from storage.reading import ReadPool
from storage.spool import Spool
from storage.spool_folder import adopt
from storage.told_reads import told_call
from storage.writer import LedgerWriter
from tests.storage.rows import rows, run
from tests.web.serving import a_guard, bearer, serving

PATH = "/openai-realtime"
CALL = {"callSid": "CA1", "from": "+12025550101", "to": "+12025550100", "locale": "rw"}
NOWHERE = "postgresql://127.0.0.1:1/nowhere"
KEY = "sk-of-the-tests"


@dataclass
class Service:
    """OpenAI's side: gives keys, or what a test wants instead; the last answer stays."""

    answers: list[tuple[int, Any]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    hung_up: list[str] = field(default_factory=list)

    async def client_secret(self, request: Request) -> Response:
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        self.asked.append(await request.json())
        number = len(self.asked)
        good = {
            "value": f"ek_{number}",
            "expires_at": 2_000_000_000,
            "session": {"id": f"sess_{number}", "type": "realtime"},
        }
        status, body = self.answers.pop(0) if len(self.answers) > 1 else (self.answers or [(200, good)])[0]
        return JSONResponse(body, status)

    async def hang_up(self, request: Request) -> Response:
        self.hung_up.append(request.path_params["id"])
        return Response(status_code=200)


@asynccontextmanager
async def service() -> AsyncIterator[tuple[Service, str]]:
    found = Service()
    app = Starlette(routes=[
        Route("/v1/realtime/client_secrets", found.client_secret, methods=["POST"]),
        Route("/v1/realtime/calls/{id}/hangup", found.hang_up, methods=["POST"]),
    ])  # fmt: skip
    async with running(app, bind_tcp("127.0.0.1", 0, "HTTP")) as (host, port):
        yield found, f"http://{host}:{port}/v1"


@asynccontextmanager
async def process(
    dsn: str, base_url: str, spools: Path | None = None, hang_up: Callable[..., bool] = lambda ids: False
) -> AsyncIterator[httpx.AsyncClient]:
    """The routes as a process of its own has them: writer, reads, keys."""
    instance = uuid4()
    writer = LedgerWriter(
        dsn, batch_ms=1, instance=instance, spool=Spool(spools, instance, max_bytes=2**22) if spools else None,
        adopted=adopt(spools).spools if spools else (),
    )  # fmt: skip
    writer.start()
    backend = OpenAIBackend(base_url, KEY)

    def configured(opening: Any) -> SessionConfig:
        return SessionConfig(
            "gpt-realtime-2.1", "Be brief.", transcription=Transcription("gpt-transcribe", opening.locale)
        )

    async with AsyncExitStack() as stack:
        stack.push_async_callback(writer.close, 0.2 if dsn == NOWHERE else 5)
        pool = await stack.enter_async_context(ReadPool(dsn))
        http = await stack.enter_async_context(OpenAIHttp(backend, "gpt-realtime-2.1"))
        calls = await stack.enter_async_context(OpenAICalls(backend))

        class Secrets:
            client_secret = staticmethod(http.client_secret)
            hang_up = staticmethod(calls.hang_up)

        world = Surroundings(
            put=lambda *facts: writer.put(facts), settle=writer.flush, look_up=lambda id: told_call(pool, id),
            configured=configured, hang_up=hang_up, secrets=Secrets(), clock=SystemClock(),
            charge=lambda usage, model: charge_of(usage, model or "gpt-realtime-2.1", price_of),
        )  # fmt: skip
        guard = a_guard()
        router = ingest_router(
            guard, ToldCalls(world, "twilio", 600), no_health, {"database": ok, "spool": ok}
        )
        client = await stack.enter_async_context(serving([router], guard=guard))
        client.headers.update(bearer(Role.INGEST))
        yield client


async def ok() -> str:
    return ""


def no_health(database: str, spool: str) -> tuple[int, dict[str, Any]]:
    return 200, {"database": database, "spool": spool}


def calls_of(dsn: str, sid: str = "CA1") -> list[dict[str, Any]]:
    return rows(dsn, f"SELECT * FROM voice_calls WHERE twilio_call_sid = '{sid}'")


async def test_two_processes_give_one_call(database: str) -> None:
    async with service() as (_, url), process(database, url) as one, process(database, url) as other:
        answers = await asyncio.gather(*(each.post(PATH, json=CALL) for each in (one, other, one, other)))
        bodies = [answer.json() for answer in answers]
        assert {(body["callId"], body["sessionId"]) for body in bodies} == {
            (bodies[0]["callId"], bodies[0]["sessionId"])
        }
        assert all(body["success"] and body["ephemeralKey"].startswith("ek_") for body in bodies)
        assert "no-store" in answers[0].headers["Cache-Control"]
        call = bodies[0]["callId"]
        told = {
            "callId": call,
            "event": {"type": "response.output_text.done", "item_id": "i", "text": "Muraho", "event_id": "e"},
        }
        for each in (one, other, one):
            assert (await each.post(f"{PATH}/events", json=told)).status_code == 200
        ends = [
            (await each.post(f"{PATH}/end", json={"callId": call, "duration": 5})).json()
            for each in (one, other, one)
        ]
        assert ends[0] == ends[1] == ends[2]
    [row] = calls_of(database)
    assert (str(row["id"]), row["status"], row["duration_seconds"]) == (call, "completed", 5)
    assert [each["content"] for each in rows(database, "SELECT content FROM transcripts")] == ["Muraho"]
    [session] = rows(database, "SELECT * FROM openai_sessions")
    assert (str(session["id"]), session["status"]) == (bodies[0]["sessionId"], "completed")
    assert len(rows(database, "SELECT 1 FROM voice_events WHERE type IN ('call_started', 'call_ended')")) == 2


async def test_a_restart_changes_no_answer(database: str, tmp_path: Path) -> None:
    """Also in an outage: what was told is in the spool, and the next process writes it."""
    async with service() as (found, url):
        async with process(NOWHERE, url, tmp_path) as client:
            first = (await client.post(PATH, json=CALL)).json()
            told = {
                "callId": first["callId"],
                "event": {"type": "session.created", "session": {}, "event_id": "e"},
            }
            assert (await client.post(f"{PATH}/events", json=told)).status_code == 200
            unknown = await client.post(f"{PATH}/events", json={**told, "callId": str(UUID(int=1))})
            assert (unknown.status_code, unknown.json()["reason"]) == (503, "database_unreachable")
            assert unknown.headers["Retry-After"]
        async with process(database, url, tmp_path) as client:
            again = (await client.post(PATH, json=CALL)).json()
            assert (again["callId"], again["sessionId"]) == (first["callId"], first["sessionId"])
            assert again["ephemeralKey"] == f"ek_{len(found.asked)}"
            assert (await client.post(f"{PATH}/events", json=told)).status_code == 200
    [row] = calls_of(database)
    assert (str(row["id"]), row["status"]) == (first["callId"], "in_progress")
    assert len(rows(database, "SELECT 1 FROM voice_events WHERE type = 'openai_session_created'")) == 1


async def test_a_key_is_asked_for_with_our_configuration(database: str) -> None:
    async with service() as (found, url), process(database, url) as client:
        for _ in range(2):
            assert (await client.post(PATH, json=CALL)).status_code == 200
    [asked] = found.asked
    session = asked["session"]
    assert (session["model"], session["instructions"], session["type"]) == (
        "gpt-realtime-2.1",
        "Be brief.",
        "realtime",
    )
    assert session["audio"]["input"]["transcription"]["language"] == "rw"
    assert asked["expires_after"] == {"anchor": "created_at", "seconds": 600}


def refusal(code: str | None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": "secret details", "type": "x", "code": code, "param": param}}


REFUSALS: list[tuple[list[tuple[int, Any]], int, str, str | None]] = [
    ([(401, refusal("invalid_api_key"))], 502, "realtime_refused", "invalid_api_key"),
    ([(429, refusal("insufficient_quota"))], 502, "realtime_refused", "insufficient_quota"),
    ([(403, {})], 502, "realtime_refused", None),
    ([(400, refusal("model_not_found"))], 502, "realtime_refused", "model_not_found"),
    (
        [(400, refusal("unknown_parameter", "session.speed"))],
        502,
        "realtime_rejected_config",
        "unknown_parameter",
    ),
    ([(200, {"value": ""})], 502, "realtime_rejected_config", None),
    ([(200, [])], 502, "realtime_rejected_config", None),
    ([(302, {})], 502, "realtime_rejected_config", None),
    ([(500, {})], 503, "realtime_unreachable", None),
    ([(429, refusal("rate_limit_exceeded"))], 503, "realtime_unreachable", "rate_limit_exceeded"),
]


@pytest.mark.parametrize(("answers", "status", "reason", "code"), REFUSALS)
async def test_what_the_service_refuses_is_a_failed_call(
    database: str,
    caplog: pytest.LogCaptureFixture,
    answers: list[tuple[int, Any]],
    status: int,
    reason: str,
    code: str | None,
) -> None:
    async with service() as (found, url), process(database, url) as client:
        found.answers = answers
        answer = await client.post(PATH, json=CALL)
        assert (answer.status_code, answer.json()["reason"], answer.json().get("code")) == (
            status,
            reason,
            code,
        )
        found.answers = []
        again = await client.post(PATH, json=CALL)
        assert (again.status_code, again.json()["reason"]) == (409, "call_is_over")
        ended = (await client.post(f"{PATH}/end", json={"callId": str(calls_of(database)[0]["id"])})).json()
        assert ended["status"] == "failed"
    [row] = calls_of(database)
    assert (row["status"], row["outcome"], row["duration_seconds"]) == ("failed", reason, 0)
    assert row["ended_at"] is not None
    assert rows(database, "SELECT 1 FROM openai_sessions") == []
    assert "secret details" not in answer.text + caplog.text
    assert KEY not in caplog.text


async def test_what_passes_is_tried_again(database: str) -> None:
    async with service() as (found, url), process(database, url) as client:
        found.answers = [
            (503, {}),
            (400, refusal("invalid_value", "session.audio.input.transcription.language")),
        ]
        found.answers.append((200, {"value": "ek_x", "expires_at": 2_000_000_000, "session": {}}))
        assert (await client.post(PATH, json=CALL)).json()["ephemeralKey"] == "ek_x"
    assert "language" not in found.asked[-1]["session"]["audio"]["input"]["transcription"]
    [session] = rows(database, "SELECT * FROM openai_sessions")
    assert session["session_id"] == str(session["id"])


async def test_a_service_that_is_away_is_told_so(database: str) -> None:
    async with process(database, "http://127.0.0.1:1/v1") as client:
        answer = await client.post(PATH, json=CALL)
        assert (answer.status_code, answer.json()["reason"]) == (503, "realtime_unreachable")
    assert calls_of(database)[0]["status"] == "failed"


async def test_a_call_that_a_leg_carries_is_not_failed_by_a_refused_key(database: str) -> None:
    async with service() as (found, url), process(database, url, hang_up=lambda ids: leg in ids) as client:
        leg = uuid4()
        run(database, "INSERT INTO voice_calls (id, direction, twilio_call_sid, status, metadata) VALUES "
                      f"('{leg}', 'inbound', 'CA1', 'in_progress', '{{\"instance\": \"x\"}}')")  # fmt: skip
        found.answers = [(401, {})]
        assert (await client.post(PATH, json=CALL)).status_code == 502
        [row] = calls_of(database)
        assert (row["status"], row["ended_at"]) == ("in_progress", None)
        found.answers = []
        call = (await client.post(PATH, json=CALL)).json()["callId"]
        ended = await client.post(f"{PATH}/end", json={"callId": call})
        assert (ended.status_code, ended.json()["callId"], ended.json()["endedAt"]) == (200, call, None)
    assert calls_of(database)[0]["ended_at"] is None


async def test_what_somebody_else_carries_cannot_be_ended_here(database: str) -> None:
    leg = uuid4()
    run(
        database,
        f"INSERT INTO voice_calls (id, direction, metadata) VALUES ('{leg}', 'inbound', '{{\"instance\": \"x\"}}')",
    )
    async with service() as (found, url), process(database, url) as client:
        answer = await client.post(f"{PATH}/end", json={"callId": str(leg)})
        assert (answer.status_code, answer.json()["reason"]) == (409, "carried_elsewhere")
        run(database, f"UPDATE voice_calls SET openai_call_id = 'rtc_1' WHERE id = '{leg}'")
        assert (await client.post(f"{PATH}/end", json={"callId": str(leg)})).status_code == 200
        assert found.hung_up == ["rtc_1"]


async def test_the_end_measures_what_it_is_not_told_and_hangs_up(database: str) -> None:
    async with service() as (found, url), process(database, url) as client:
        call = (await client.post(PATH, json=CALL)).json()["callId"]
        run(database, f"UPDATE voice_calls SET openai_call_id = 'rtc_2' WHERE id = '{call}'")
        ended = (await client.post(f"{PATH}/end", json={"callId": call})).json()
        assert (ended["status"], ended["durationSeconds"], found.hung_up) == ("no_answer", 0, ["rtc_2"])
        late = {"type": "response.output_text.done", "item_id": "i", "text": "last words"}
        assert (await client.post(f"{PATH}/events", json={"callId": call, "event": late})).status_code == 200
        run(database, "UPDATE voice_calls SET ended_at = ended_at - interval '1 hour'")
    async with service() as (_, url), process(database, url) as client:
        answer = await client.post(f"{PATH}/events", json={"callId": call, "event": late})
        assert (answer.status_code, answer.json()["reason"]) == (409, "call_is_over")
    assert [each["content"] for each in rows(database, "SELECT content FROM transcripts")] == ["last words"]


SQL = "'; DROP TABLE voice_calls; -- <script>"
BODIES: list[tuple[str, Any, int]] = [
    ("", {}, 422),
    ("", {**CALL, "callSid": ""}, 422),
    ("", {**CALL, "callSid": "a\nb"}, 422),
    ("", {**CALL, "callSid": 7}, 422),
    ("", {**CALL, "callSid": "x" * 256}, 422),
    ("", {**CALL, "locale": "rwanda!"}, 422),
    ("", {**CALL, "callSid": SQL, "from": SQL, "to": "anonymous", "locale": "fr-FR", "more": 1}, 200),
    ("", [], 422),
    ("/events", {"callId": "x", "event": {}}, 422),
    ("/events", {"callId": str(UUID(int=9)), "event": {"type": "error"}}, 404),
    ("/events", {"callId": str(UUID(int=9)), "event": {"type": 7}}, 422),
    ("/events", {"callId": str(UUID(int=9)), "event": "error"}, 422),
    ("/events", {"callId": str(UUID(int=9)), "event": {"type": "error", "x": "y" * 300_000}}, 413),
    ("/end", {"callId": str(UUID(int=9))}, 404),
    ("/end", {"callId": str(UUID(int=9)), "duration": -1}, 422),
    ("/end", {"callId": str(UUID(int=9)), "duration": "7"}, 422),
    ("/end", {"callId": str(UUID(int=9)), "duration": 1e300}, 422),
]


async def test_bad_input_is_told_and_nothing_of_it_is_written(database: str) -> None:
    async with service() as (_, url), process(database, url) as client:
        for path, body, status in BODIES:
            answer = await client.post(PATH + path, json=body)
            assert answer.status_code == status, (path, body, answer.text)
        assert (
            await client.post(PATH, content=b"{", headers={"Content-Type": "application/json"})
        ).status_code == 400
        assert (await client.post(PATH, content=b"a=b")).status_code == 415
    [row] = rows(database, "SELECT * FROM voice_calls")
    assert (row["twilio_call_sid"], row["from_e164"], row["to_e164"], row["locale"]) == (
        SQL,
        None,
        None,
        "fr",
    )


# ---- health ----------------------------------------------------------------------------------------------

NOW = datetime(2026, 1, 2, tzinfo=UTC)
UP, DOWN = TrunkStanding("t", "twilio", "up", ""), TrunkStanding("t", "twilio", "down", "no address")
MTN = TrunkStanding("m", "mtn", "disabled", "not enabled")
WELL = VoiceStanding(True, "m", NOW, None, "")
REFUSED = VoiceStanding(True, "m", None, NOW, "realtime_refused")
STANDINGS: list[tuple[Any, Any, str, str, tuple[int, str, str, str, str]]] = [
    ([UP, MTN], WELL, "", "", (200, "healthy", "active", "pending", "active")),
    ([UP], WELL, "", "", (200, "healthy", "active", "off", "active")),
    ([], WELL, "", "", (200, "healthy", "off", "off", "active")),
    ([DOWN, MTN], WELL, "", "", (503, "unhealthy", "down", "pending", "active")),
    (
        [DOWN, TrunkStanding("m", "mtn", "up", "")],
        WELL,
        "",
        "",
        (200, "degraded", "down", "active", "active"),
    ),
    ([UP], REFUSED, "", "", (503, "unhealthy", "active", "off", "down")),
    ([UP], VoiceStanding(False, "m", None, None, ""), "", "", (503, "unhealthy", "active", "off", "off")),
    ([UP], WELL, "away", "", (200, "degraded", "active", "off", "active")),
    ([UP], WELL, "", "full", (200, "degraded", "active", "off", "active")),
    ([UP], WELL, "away", "full", (503, "unhealthy", "active", "off", "active")),
]


@pytest.mark.parametrize(("trunks", "voice", "database_is", "spool_is", "told"), STANDINGS)
def test_health_is_made_of_the_parts(
    trunks: Any, voice: Any, database_is: str, spool_is: str, told: Any
) -> None:
    status, body = health(NOW, trunks, voice, database_is, spool_is)
    features = body["features"]
    assert (
        status,
        body["status"],
        features["twilio_sip"],
        features["mtn_sip"],
        features["openai_realtime"],
    ) == told
    assert bool(body["why"]) == (status == 503)


def done(response: str, event: str = "") -> dict[str, Any]:
    """A response of 1,000 tokens of audio in, 100 of them cached, and 500 out: 0.0288 + 0.00004 + 0.032 dollars."""
    read = {"audio_tokens": 1000, "text_tokens": 0, "cached_tokens_details": {"audio_tokens": 100}}
    usage = {"input_token_details": read, "output_token_details": {"audio_tokens": 500, "text_tokens": 0}}
    return {
        "type": "response.done",
        "event_id": event or f"event of {response}",
        "response": {"id": response, "status": "completed", "usage": usage},
    }


async def test_a_call_costs_what_its_responses_do_each_once(database: str) -> None:
    """Told twice, under another event's id, to another process, and after a restart; in the view of costs per day."""
    price = PRICES["gpt-realtime-2.1-mini"]
    each = (900 * price.audio_in + 100 * price.audio_cached + 500 * price.audio_out) / 1e6
    created = {
        "type": "session.created",
        "event_id": "e0",
        "session": {"id": "s", "model": "gpt-realtime-2.1-mini"},
    }
    async with service() as (_, url):
        async with process(database, url) as one, process(database, url) as other:
            call = (await one.post(PATH, json=CALL)).json()["callId"]
            for client, event in (
                (one, created), (one, done("r1")), (one, done("r1")), (one, done("r1", "again")),
                (other, created), (other, done("r2")), (other, done("r1")),
            ):  # fmt: skip
                answer = await client.post(f"{PATH}/events", json={"callId": call, "event": event})
                assert answer.status_code == 200
        async with process(database, url) as after:
            for event in (created, done("r2"), done("r3")):
                await after.post(f"{PATH}/events", json={"callId": call, "event": event})
            await after.post(f"{PATH}/end", json={"callId": call})
    [row] = calls_of(database)
    usage = row["metadata"]["usage"]
    assert (usage["responses"], usage["audio_in"], usage["audio_cached"], usage["audio_out"]) == (
        3,
        2700,
        300,
        1500,
    )
    assert usage["cost_usd"] == pytest.approx(3 * each, abs=1e-5)
    async with ReadPool(database) as pool:
        [day] = await per_day(pool, "UTC", 1, row["started_at"].astimezone(UTC).date())
    assert day["cost_usd"] == pytest.approx(3 * each, abs=1e-5)


async def test_a_leg_of_ours_is_charged_by_that_leg(database: str) -> None:
    async with service() as (_, url), process(database, url) as client:
        call = (await client.post(PATH, json=CALL)).json()["callId"]
        leg = """metadata = metadata || '{"instance": "one of ours", "usage": {"cost_usd": 7}}'"""
        run(database, f"UPDATE voice_calls SET {leg}")
        assert (
            await client.post(f"{PATH}/events", json={"callId": call, "event": done("r1")})
        ).status_code == 200
    [row] = calls_of(database)
    assert row["metadata"]["usage"] == {"cost_usd": 7}
    assert len(rows(database, "SELECT 1 FROM voice_events WHERE type = 'openai_response_done'")) == 1


@pytest.mark.parametrize(
    ("usage", "model", "expected"),
    [
        ({"output_tokens": 5}, "no-such-model", {"text_out": 5, "unpriced": "no-such-model"}),
        ({"output_tokens": 10**400}, "gpt-realtime-2.1", None),
        ({"seconds": float("inf")}, "gpt-realtime-2.1", None),
        ({"output_tokens": 10**12}, "gpt-realtime-2.1", None),
        ({"output_tokens": "many"}, "gpt-realtime-2.1", {"text_out": 0, "cost_usd": 0.0}),
    ],
)
def test_the_charge_of_a_usage(usage: dict[str, Any], model: str, expected: dict[str, Any] | None) -> None:
    found = charge_of(usage, model, price_of)
    assert found == {} if expected is None else found.items() >= expected.items()
