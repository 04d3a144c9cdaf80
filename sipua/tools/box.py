"""Runs the tools of one call, each as a task with a time limit; results wait in order for one reader.

Whatever a tool or a model does comes back as a short text for the model and as one row: an unknown tool, arguments that
are too long, no JSON or unfit, an exception, a tool that is not done in time. Nothing is raised into the call. A tool
that does not let itself be cancelled is left behind; its result is not wanted any more.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import orjson

from sipua.actions import CallTool, RemoteToolCalled, RemoteToolDone
from sipua.metrics import Metrics
from sipua.ports import CallOpening, CallRecord, Clock
from sipua.tools.context import Control, ToolContext
from sipua.tools.registry import Result, Tool
from sipua.tools.schema import ToolError

log = logging.getLogger(__name__)

ARGUMENTS_MAX_CHARS = 16_384
OUTPUT_MAX_CHARS = 16_384  # about 4,000 tokens, which the model reads again in every later response
NAME_MAX_CHARS = 64
UNKNOWN = "unknown"  # the label of tools that there are not
REMOTE = "remote"  # and of those that the service calls by itself

CALL_ENDED = "the call ended first"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """``output`` is JSON text for the model."""

    call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class _Run:
    call: CallTool
    tool: Tool
    began: float
    task: asyncio.Task[Result]
    limit: asyncio.TimerHandle


class ToolBox:
    """``locale`` gives the language that the call is in."""

    def __init__(
        self,
        find: Callable[[str], Tool | None],
        control: Callable[[], Control],
        record: CallRecord,
        locale: Callable[[], str],
        metrics: Metrics,
        clock: Clock,
        traceparent: Callable[[UUID, UUID], str] = lambda call, tool: "",
    ) -> None:
        self._find = find
        self._traceparent = traceparent
        self._control = control
        self._record = record
        self._locale = locale
        self._metrics = metrics
        self._clock = clock
        self._runs: dict[UUID, _Run] = {}
        self._late: set[asyncio.Task[Result]] = set()  # cancelled, not over yet; the loop holds tasks weakly
        self._results: deque[ToolResult] = deque()  # bounded by how many may run (sipua.tool_round)
        self._wake = asyncio.Event()
        self._remote: dict[
            str, UUID
        ] = {}  # items of calls that the service makes → rows; bounded by who tells

    def start(self, call: CallTool) -> None:
        """Begins to run it; its result, or an error, comes with ``results``."""
        id, began = uuid4(), self._clock.now()
        tool = self._find(call.name)
        arguments, fault = read_arguments(call.arguments_json)
        self._record.tool_called(
            began, id,
            server=tool.server if tool is not None else None,
            tool=call.name[:NAME_MAX_CHARS], args=arguments,
        )  # fmt: skip
        if tool is None:
            fault = f"there is no tool named {call.name[:NAME_MAX_CHARS]}"
        if fault := call.refused or fault:
            self._answer(id, call, tool, began.monotonic, error=fault)
            return
        assert tool is not None
        assert arguments is not None
        task = asyncio.create_task(self._work(tool, arguments, self._context(id)), name=f"tool {tool.name}")
        limit = asyncio.get_running_loop().call_later(tool.timeout_s, self._expire, id)
        self._runs[id] = _Run(call, tool, began.monotonic, task, limit)
        task.add_done_callback(lambda _: self._worked(id))

    def remote_called(self, call: RemoteToolCalled) -> None:
        """The service calls a tool by itself."""
        id = self._remote[call.item_id] = uuid4()
        arguments, _ = read_arguments(call.arguments_json)
        name, server = call.name[:NAME_MAX_CHARS], call.server[:NAME_MAX_CHARS]
        self._record.tool_called(self._clock.now(), id, server=server, tool=name, args=arguments)

    def remote_done(self, done: RemoteToolDone) -> None:
        """What came of it; the model has it already."""
        id = self._remote.pop(done.item_id, None)
        if id is None:
            return
        result, fault = read_arguments(done.output)
        if fault:
            result = {"result": done.output[:OUTPUT_MAX_CHARS]}
        self._metrics.tool_calls.labels(REMOTE, "ok" if done.error is None else "error").inc()
        self._record.tool_done(id, result=result if done.error is None else None, error=done.error)

    async def results(self) -> AsyncIterator[ToolResult]:
        """All of them, for as long as they are asked for."""
        while True:
            while self._results:
                yield self._results.popleft()
            self._wake.clear()
            await self._wake.wait()

    def close(self) -> None:
        """The call is over: what still runs is cancelled, its rows say so. Nobody waits for it: a BYE is due."""
        for id, run in list(self._runs.items()):
            self._leave(id)
            self._answer(id, run.call, run.tool, run.began, error=CALL_ENDED, outcome="ended")
        for id in self._remote.values():
            self._record.tool_done(id, result=None, error=CALL_ENDED)
        self._remote.clear()

    @staticmethod
    async def _work(tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> Result:
        return await tool.run(
            tool.check(arguments), context
        )  # a schema of somebody else's may raise anything

    def _context(self, id: UUID) -> ToolContext:
        opening: CallOpening = self._record.opening
        return ToolContext(
            id=id,
            call_id=self._record.id,
            direction=opening.direction,
            caller=opening.from_number,
            called=opening.to_number,
            trunk=opening.trunk,
            country=opening.country,
            locale=self._locale(),
            ledger=self._record,
            control=self._control(),
            traceparent=self._traceparent(self._record.id, id),
        )

    def _worked(self, id: UUID) -> None:
        run = self._runs.pop(id, None)
        if run is None:
            return  # timed out, or the call is over: nobody waits for it
        run.limit.cancel()
        if run.task.cancelled():
            self._answer(id, run.call, run.tool, run.began, error="the tool was cancelled")
            return
        fault = run.task.exception()
        if fault is None:
            self._answer(id, run.call, run.tool, run.began, result=run.task.result())
        elif isinstance(fault, ToolError):
            self._answer(id, run.call, run.tool, run.began, error=str(fault))
        else:
            log.error("call=%s tool %s failed by a bug", self._record.id, run.tool.name, exc_info=fault)
            self._answer(
                id,
                run.call,
                run.tool,
                run.began,
                error=f"the tool failed ({type(fault).__name__}): do without it",
            )

    def _expire(self, id: UUID) -> None:
        run = self._leave(id)
        error = f"no result within {run.tool.timeout_s:g} s: do without it, or say that it takes longer"
        self._answer(id, run.call, run.tool, run.began, error=error, outcome="timeout")

    def _leave(self, id: UUID) -> _Run:
        run = self._runs.pop(id)
        run.limit.cancel()
        self._late.add(run.task)
        run.task.add_done_callback(self._gone)
        run.task.cancel()
        return run

    def _gone(self, task: asyncio.Task[Result]) -> None:
        self._late.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("call=%s %s failed after its time", self._record.id, task.get_name())

    def _answer(
        self,
        id: UUID,
        call: CallTool,
        tool: Tool | None,
        began: float,
        *,
        result: Result | None = None,
        error: str | None = None,
        outcome: str = "",
    ) -> None:
        output = ""
        if error is None:
            output, result, error = as_output(result)
        if error is not None:
            output = json.dumps({"error": error}, ensure_ascii=False)
            result = None
        name = tool.name if tool is not None else UNKNOWN
        self._metrics.tool_calls.labels(name, outcome or ("ok" if error is None else "error")).inc()
        self._metrics.tool_seconds.labels(name).observe(self._clock.now().monotonic - began)
        log.info(
            "call=%s tool %s: %s", self._record.id, name, outcome or ("ok" if error is None else "error")
        )
        self._record.tool_done(id, result=result, error=error)
        self._results.append(ToolResult(call.call_id, output))
        self._wake.set()


def read_arguments(text: str) -> tuple[dict[str, Any] | None, str]:
    """The object, or why there is none, in words for the model. No text at all is an empty object."""
    if len(text) > ARGUMENTS_MAX_CHARS:
        return None, f"the arguments are too long: {len(text)} characters; at most {ARGUMENTS_MAX_CHARS}"
    if not text.strip():
        return {}, ""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return None, f"the arguments are not JSON: {error.msg[:80]} at character {error.pos}"
    if not isinstance(value, dict):
        return None, "the arguments are not a JSON object"
    return value, ""


def as_output(result: Any) -> tuple[str, dict[str, Any] | None, str | None]:
    """What a tool returned as JSON text and object, or why that cannot be."""
    value = dict(result) if isinstance(result, Mapping) else {"result": result}
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()  # half a character cannot be sent
    except (TypeError, ValueError, RecursionError) as error:
        log.error("a tool returned what is no JSON: %s", error)
        return "", None, "the tool's result cannot be read"
    if len(text) > OUTPUT_MAX_CHARS:
        return "", None, f"the tool's result is too long ({len(text)} characters): ask for less"
    return text, value, None
