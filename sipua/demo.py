"""The demo: database, voice service stand-in, agent and caller as separate processes, one call, and what is left of it.

The caller is ``sipua call`` and shares nothing with the agent but UDP. The agent is ``sipua serve`` as a user would
run it, with ports and a data directory of its own. What the call was is read back from the database afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from sipua.children import Child, agent_environment
from sipua.control import watch
from sipua.errors import LocalError, SipuaError, Stopped
from sipua.resources import shipped_conf, shipped_speech
from sipua.settings import PREFIX, Settings
from storage.queries import call_rows

QUESTION = "question_en.wav"
CALL_LIMIT_S = 60.0
QUIET_S = 1.5
ROWS_TIMEOUT_S = 5.0
REPLY_MS = 500  # of sound after the question: less is no answer
ENDED = ("completed", "failed", "busy", "no_answer")

Show = Callable[[Mapping[str, Any]], None]


class DemoFailed(SipuaError):
    """The call took place but is not what it should be; says what is missing."""

    reason = "demo"


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """``live``: the configured voice service; ``use_database``: the configured DATABASE_URL; else neither."""

    directory: Path
    conf: Path
    live: bool = False
    use_database: bool = False
    play: Path | None = None


async def run_demo(
    options: DemoOptions, settings: Settings, stop: asyncio.Event, show: Show
) -> dict[str, Any]:
    """Runs it; the document of ``sipua demo --json``. Raises DemoFailed, LocalError."""
    work = asyncio.ensure_future(_run(options, settings, show))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Stopped("stopped")
        return work.result()
    finally:
        for task in (work, stopped):
            task.cancel()
        await asyncio.gather(work, stopped, return_exceptions=True)


async def _run(options: DemoOptions, settings: Settings, show: Show) -> dict[str, Any]:
    directory = options.directory.absolute()
    logs = directory / "logs"
    state = directory / "state"
    conf = _own_conf(options, directory)
    recording = directory / "answer.wav"
    async with AsyncExitStack() as stack:
        env = _environment(options, settings, state, conf)
        if not options.live:
            show({"event": "step", "text": "starting the voice service's stand-in"})
            emulator = await Child.start(
                "the emulator", ["emulate", "realtime", "--port", "0"], env=env, log=logs / "emulator.log"
            )
            stack.push_async_callback(emulator.end)
            env |= {"OPENAI_BASE_URL": str(emulator.ready["base_url"]), "OPENAI_API_KEY": "sk-offline-demo"}
        show({"event": "step", "text": "starting database and agent (sipua serve)"})
        agent = await Child.start("the agent", ["serve"], env=env, log=logs / "serve.log")
        stack.push_async_callback(agent.end)
        show({"event": "step", "text": f"agent ready: SIP {agent.ready['sip']}, HTTP {agent.ready['http']}"})
        feed = _Feed(state, show)
        await feed.start()
        stack.push_async_callback(feed.stop)
        caller = await Child.start(
            "the caller", _call_arguments(options, str(agent.ready["sip"]), recording),
            env=env, log=logs / "call.log", wait=False,
        )  # fmt: skip
        stack.push_async_callback(caller.end)
        call = _parsed(await caller.output(), caller)
        if feed.call_id is None:
            raise DemoFailed(f"the agent saw no call: {agent.last_words()}")
        own = settings.database_url if options.use_database else None
        dsn = own.get_secret_value() if own is not None else str(agent.ready["database"])
        rows = await _rows(dsn, feed.call_id)
        document = _document(feed.call_id, call, rows)
        _judge(document, call)
        return document


def _own_conf(options: DemoOptions, directory: Path) -> Path:
    """The shipped configuration, copied; with ``live`` the user's sipua.toml beside the shipped trunks."""
    conf = directory / "conf"
    shutil.rmtree(conf, ignore_errors=True)
    shutil.copytree(shipped_conf(), conf)
    own = options.conf / "sipua.toml"
    if options.live and own.exists():
        shutil.copyfile(own, conf / "sipua.toml")
    return conf


def _environment(options: DemoOptions, settings: Settings, state: Path, conf: Path) -> dict[str, str]:
    """An agent of the demo's own, with what it is told to take from the configuration."""
    env = agent_environment(conf, state, "demo")
    if options.live:
        env |= {k: v for k, v in os.environ.items() if k.startswith((PREFIX + "REALTIME__", "OPENAI_"))}
    if options.use_database:
        if settings.database_url is None:
            raise LocalError("--database: DATABASE_URL is not set")
        env["DATABASE_URL"] = settings.database_url.get_secret_value()
    return env


def _call_arguments(options: DemoOptions, sip: str, recording: Path) -> list[str]:
    question = options.play or shipped_speech(QUESTION)
    return [
        "call", f"sip:agent@{sip}", "--play", str(question), "--record", str(recording),
        "--after-greeting", "--until-quiet", str(QUIET_S), "--duration", str(CALL_LIMIT_S), "--json",
    ]  # fmt: skip


def _parsed(output: bytes, caller: Child) -> dict[str, Any]:
    try:
        document: dict[str, Any] = orjson.loads(output)
    except orjson.JSONDecodeError:
        raise DemoFailed(f"the caller gave no result: {caller.last_words()}") from None
    if "error" in document:
        raise DemoFailed(f"the caller failed: {document['error']['message']}")
    return document


async def _rows(dsn: str, call_id: UUID) -> dict[str, list[dict[str, Any]]]:
    """The call's rows once its row is closed (the writer is some 100 ms behind), or as they are after a while."""
    rows: dict[str, list[dict[str, Any]]] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ROWS_TIMEOUT_S):
            while True:
                rows = await call_rows(dsn, call_id)
                if rows["voice_calls"] and rows["voice_calls"][0]["ended_at"] is not None:
                    break
                await asyncio.sleep(0.05)
    return rows


def _document(
    call_id: UUID, call: Mapping[str, Any], rows: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    row = rows["voice_calls"][0] if rows.get("voice_calls") else {}
    return {
        "call_id": str(call_id),
        "status": row.get("status"),
        "duration_seconds": call["duration_seconds"],
        "transcripts": [
            {"role": each["role"], "content": each["content"], "lang": each["lang"]}
            for each in rows.get("transcripts", [])
        ],
        "first_assistant_audio_ms": call["first_audio_ms"],
        "rtp": call["rtp"],
        "recording": call["recording"],
        "database": {table: len(each) for table, each in rows.items()},
        "rows": rows,
    }


def _judge(document: Mapping[str, Any], call: Mapping[str, Any]) -> None:
    """Raises DemoFailed unless the answer was heard and the rows stand."""
    missing: list[str] = []
    if call["status"] != "completed":
        missing.append(
            f"the call did not come about: {call['status']} ({call['reason']}, SIP {call['sip_code']})"
        )
    elif (call["reply_ms"] or 0) < REPLY_MS:
        missing.append(
            f"the caller heard {call['reply_ms'] or 0:.0f} ms of sound after the question: no answer"
        )
    if document["status"] not in ENDED:
        missing.append(f"voice_calls.status is {document['status']!r}: the row was not closed")
    counts = document["database"]
    missing += [
        f"no row in {table}"
        for table in ("voice_calls", "openai_sessions", "voice_events")
        if not counts.get(table)
    ]
    roles = {each["role"] for each in document["transcripts"]}
    missing += [f"no transcript of the {role}" for role in ("user", "assistant") if role not in roles]
    if missing:
        raise DemoFailed("; ".join(missing))


class _Feed:
    """Follows the agent's live feed; remembers the first call's id."""

    def __init__(self, state: Path, show: Show) -> None:
        self.call_id: UUID | None = None
        self._entries: AsyncIterator[dict[str, Any]] = watch(state)
        self._show = show
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await anext(self._entries)  # {"watching": true}: nothing of the call can be missed
        self._task = asyncio.create_task(self._follow(), name="feed")

    async def _follow(self) -> None:
        async for entry in self._entries:
            if "call" in entry and self.call_id is None:
                self.call_id = UUID(entry["call"])
            self._show(entry)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
