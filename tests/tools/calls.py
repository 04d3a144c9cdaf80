"""A call as its tools see it: what they asked of it, and what the ledger was told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sipua.actions import CallTool
from sipua.clock import SystemClock
from sipua.feed import Feed
from sipua.ledger import Ledger, Record
from sipua.metrics import Metrics
from sipua.ports import Moment
from sipua.tools.box import ToolBox
from sipua.tools.context import ToolContext
from sipua.tools.registry import Registry
from storage.facts import Fact, Group, ToolCalled, ToolDone
from tests.sipua.test_ledger import OPENING


@dataclass
class Wishes:
    """A call that notes what it is asked (``sipua.tools.context.Control``)."""

    asked: list[tuple[object, ...]] = field(default_factory=list)

    def hang_up(self) -> None:
        self.asked.append(("hang_up",))

    def set_language(self, wanted: str) -> str:
        self.asked.append(("set_language", wanted))
        return "French"

    def wrap_up(self, intent: str, outcome: str, note: str) -> None:
        self.asked.append(("wrap_up", intent, outcome, note))

    async def record_consent(self, agreed: bool, words: str) -> Mapping[str, Any]:
        self.asked.append(("record_consent", agreed, words))
        return {"status": "noted"}

    async def transfer(self, department: str, reason: str) -> Mapping[str, Any]:
        self.asked.append(("transfer", department, reason))
        return {"status": "connected"}


class Desk:
    """A box with its call around it."""

    def __init__(self, registry: Registry) -> None:
        self.facts: list[Fact] = []
        self.control = Wishes()
        self.metrics = Metrics(node="n", worker=0, instance="i", version="v")
        start = Moment(0.0, datetime(2026, 1, 1, tzinfo=UTC))
        record: Record = Ledger(self, Feed(), {}).open(OPENING, start)
        self.box = ToolBox(
            registry.find, lambda: self.control, record, lambda: "rw", self.metrics, SystemClock()
        )
        self._results = self.box.results()

    def put(self, group: Group) -> None:
        self.facts += group

    async def use(
        self, name: str, arguments: object = None, *, call_id: str = "c1", refused: str = ""
    ) -> Any:
        """Calls a tool; what the model reads."""
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
        self.box.start(CallTool(call_id, name, text, "r1", refused))
        return await self.next(call_id)

    async def next(self, call_id: str = "c1") -> Any:
        result = await anext(self._results)
        assert result.call_id == call_id
        return json.loads(result.output)

    @property
    def called(self) -> list[ToolCalled]:
        return [fact for fact in self.facts if isinstance(fact, ToolCalled)]

    @property
    def done(self) -> list[ToolDone]:
        return [fact for fact in self.facts if isinstance(fact, ToolDone)]

    def counted(self, tool: str, outcome: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "sipua_tool_calls_total", {"tool": tool, "outcome": outcome}
        )
        return value or 0.0


def context(desk: Desk) -> ToolContext:
    """Of a tool that is run without a box."""
    record = Ledger(desk, Feed(), {}).open(OPENING, Moment(0.0, datetime(2026, 1, 1, tzinfo=UTC)))
    return ToolContext(
        uuid4(), OPENING.id, "inbound", OPENING.from_number, OPENING.to_number, "loopback", "RW", "rw", record,
        desk.control,
    )  # fmt: skip
