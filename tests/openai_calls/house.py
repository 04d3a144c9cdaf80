"""A house that takes calls at OpenAI: the real router, line, ledger and database; at the far end the emulator."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg
from psycopg.rows import dict_row

from sipua.call_services import CallServices
from sipua.clock import SystemClock
from sipua.database import ledger_writer
from sipua.desk import Desk
from sipua.feed import Feed
from sipua.http import bind_tcp, running
from sipua.identity import Identity
from sipua.idle import IdleRules
from sipua.keys import KeyRules
from sipua.ledger import Ledger
from sipua.metrics import Metrics
from sipua.openai_line import OpenAILine
from sipua.openai_service import openai_line
from sipua.realtime.emulator import EmulatorOptions, Hook, parse_fault, serve_emulator
from sipua.recording_service import consent_policy
from sipua.settings import Settings
from sipua.spend import Spend
from sipua.talk_service import talk_tools, voice_service
from sipua.texts import TextFiles
from sipua.tools.files import NO_TOOL_FILES
from sipua.voice_settings import backend_of
from sipua.web.openai_webhook import PATH, openai_webhook_router
from sipua.web.site import build_site
from tests.web.serving import PLENTY, a_guard

KEY = b"0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
CALLER, OUR_LINE = "+250788000123", "+250788000001"
WAIT_S = 20.0
T = TypeVar("T")


def rows(database: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(database, row_factory=dict_row) as connection:
        return connection.execute(query.encode()).fetchall()


@dataclass
class House:
    """``line`` takes what the webhook says; ``dial`` has the emulator send it."""

    line: OpenAILine
    url: str
    emulator: httpx.AsyncClient
    metrics: Metrics
    database: str

    async def dial(self, **asked: Any) -> dict[str, Any]:
        answer = await self.emulator.post("/emulator/calls", json={"from": CALLER, "to": OUR_LINE} | asked)
        told: dict[str, Any] = answer.json()
        return told

    async def drive(self, call: dict[str, Any], deed: str, **query: str) -> None:
        answer = await self.emulator.post(f"/emulator/calls/{call['call_id']}/{deed}", params=query)
        assert answer.status_code == 200, answer.text

    async def look(self, call: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = (await self.emulator.get(f"/emulator/calls/{call['call_id']}")).json()
        return told

    async def joined(self, call: dict[str, Any], times: int) -> None:
        """By so many sidebands."""
        async with asyncio.timeout(WAIT_S):
            while True:
                if (await self.look(call)).get("joined") == times:
                    return
                await asyncio.sleep(0.02)

    async def until(self, query: str, count: int = 1) -> list[dict[str, Any]]:
        """Rows of ours, once there are so many."""
        return await until(lambda: rows(self.database, query), lambda found: len(found) >= count)

    async def said(self, text: str) -> None:
        """The agent has said it, in the rows."""
        await self.until(f"SELECT 1 FROM transcripts WHERE role = 'assistant' AND content LIKE '%{text}%'")

    async def idle(self) -> None:
        """No call is up."""
        await until(lambda: self.line.calls_up, lambda up: not up)

    async def ended(self, count: int = 1) -> list[dict[str, Any]]:
        return await self.until(
            "SELECT * FROM voice_calls WHERE ended_at IS NOT NULL ORDER BY started_at", count
        )


async def until(look: Callable[[], T], is_so: Callable[[T], bool]) -> T:
    async with asyncio.timeout(WAIT_S):
        while True:
            if is_so(found := look()):
                return found
            await asyncio.sleep(0.02)


@asynccontextmanager
async def emulated(hook: Hook | None, *faults: str, **options: Any) -> AsyncIterator[str]:
    """The emulator; gives host:port."""
    stop = asyncio.Event()
    where: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    chosen = EmulatorOptions(
        faults=[parse_fault(fault) for fault in faults], hook=hook, **{"speed": 20.0, **options}
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(
            serve_emulator(chosen, ready=lambda host, port: where.set_result(f"{host}:{port}"), stop=stop)
        )
        try:
            yield await where
        finally:
            stop.set()


@asynccontextmanager
async def a_house(
    folder: Path,
    database: str,
    *faults: str,
    script: str = "",
    is_draining: Callable[[], bool] = lambda: False,
    sections: dict[str, Any] | None = None,
    asked: str | None = None,
    worker: int = 0,
    **webhook: Any,
) -> AsyncIterator[House]:
    """``webhook``: keys of [openai_webhook]; ``asked``: the DSN that says whether a webhook was here, if another."""
    secret, scripted = folder / "openai-webhook", folder / "script.toml"
    secret.write_text(SECRET)
    scripted.write_text(script)
    options: dict[str, Any] = {"script": scripted} if script else {}
    async with AsyncExitStack() as stack:
        sock = bind_tcp("127.0.0.1", 0, "HTTP")
        stack.callback(sock.close)
        url = f"http://127.0.0.1:{sock.getsockname()[1]}{PATH}"
        address = await stack.enter_async_context(emulated(Hook(url, KEY), *faults, **options))
        values = {
            "openai_base_url": f"http://{address}/v1",
            "openai_api_key": "sk-test",
            "database_url": database,
        }
        chosen = {"incoming": "accept", "rejoin_s": 5.0, **webhook, "secret_file": str(secret)}
        settings = Settings.model_validate(
            values
            | {"openai_webhook": chosen, "ledger": {"spool_dir": str(folder / f"spool{worker}")}}
            | (sections or {})
        )
        clock, identity = SystemClock(), Identity("test", worker)
        metrics = Metrics(node="test", worker=worker, instance=str(identity.instance), version="0")
        writer = await stack.enter_async_context(ledger_writer(database, settings, identity))
        texts, desk = TextFiles(folder), Desk(database, writer, settings.memory, clock, None)
        consent = consent_policy(settings, None)
        tools, _ = await stack.enter_async_context(
            talk_tools(settings, texts, NO_TOOL_FILES, desk, clock, asks_consent=consent is not None)
        )
        backend = backend_of(settings)
        spend = Spend(settings.spend, clock.now().wall.date())
        shared: Any = Shared(
            voice=voice_service(settings, backend, texts, tools, desk, spend, clock),
            idle=settings.turns.idle,
            keys=KeyRules(),
            metrics=metrics,
            clock=clock,
            consent=consent,
            departments=lambda: texts.texts.departments,
        )
        ledger = Ledger(writer, Feed(), identity.as_dict())
        signed = await stack.enter_async_context(
            openai_line(settings.openai_webhook, backend, shared, ledger, asked or database, is_draining)
        )
        assert signed is not None
        router = openai_webhook_router(signed.secrets, signed.line.received, metrics, clock)
        site = build_site(a_guard(), clock, routers=[router], rate=PLENTY)
        await stack.enter_async_context(running(site, sock))
        emulator = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://{address}", timeout=15)
        )
        stack.push_async_callback(signed.line.end_all)
        yield House(signed.line, url, emulator, metrics, database)


@dataclass(frozen=True)
class Shared:
    """Of ``sipua.call_services.CallServices`` what calls at OpenAI take from it."""

    voice: Any
    idle: IdleRules
    keys: KeyRules
    metrics: Metrics
    clock: SystemClock
    consent: Any
    departments: Any


assert set(Shared.__annotations__) <= set(CallServices.__annotations__)
