"""The tools that one response calls, and when their results go back. No I/O, no clock.

A tool begins to run as soon as its arguments are complete. Its result waits for the end of the response that called it
(one response at a time is the service's rule), goes back as it comes, and the model is asked once, when the last result
of that response is in. Who asks, and when, is the conversation's affair: the caller may be speaking by then.

Bounded: tools that run at the same time, and responses in a row that call tools while the caller says nothing. What is
over a bound is answered all the same (``CallTool.refused``), so that the model knows and the ledger has its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sipua.actions import CallTool, ToolOutput
from sipua.realtime.events import FunctionCall

RUNNING_MAX = 8
ROUNDS_MAX = 8  # in a row; beyond twice of it the model is not asked any more until the caller speaks
WAITING_MAX = 64  # with their results, for responses that do not end: beyond, calls are not heard
KNOWN_MAX = 256  # call ids that are told from a repetition

TOO_MANY = f"more than {RUNNING_MAX} tools are running: wait for their results"
IN_A_CIRCLE = f"tools were called in {ROUNDS_MAX} answers in a row: tell the caller what you know, or ask"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What goes back to the model. ``asks``: all of a response is in, so an answer is wanted.

    ``spoke``: the response that called them has said something, too.
    """

    items: Sequence[ToolOutput] = ()
    asks: bool = False
    spoke: bool = False


@dataclass(slots=True)
class _Round:
    running: set[str] = field(default_factory=set)  # call ids
    results: list[ToolOutput] = field(default_factory=list)  # wait for the end of the response
    is_over: bool = False  # the response


class ToolRound:
    def __init__(self) -> None:
        self._rounds: dict[str, _Round] = {}
        self._known: dict[str, None] = {}
        self._spoke: dict[str, None] = {}
        self._in_row = 0
        self._items = 0

    @property
    def is_busy(self) -> bool:
        """Tools run, or results wait."""
        return bool(self._rounds)

    def called(self, event: FunctionCall) -> list[CallTool]:
        """The model wants a tool. An event that is repeated is one call."""
        running = sum(len(each.running) for each in self._rounds.values())
        waiting = sum(len(each.results) for each in self._rounds.values())
        if event.call_id in self._known or running + waiting >= WAITING_MAX:
            return []
        _remember(self._known, event.call_id)
        refused = TOO_MANY if running >= RUNNING_MAX else ""
        if event.response_id not in self._rounds:
            self._rounds[event.response_id] = _Round()
            self._in_row += 1
        if self._in_row > ROUNDS_MAX:
            refused = IN_A_CIRCLE
        self._rounds[event.response_id].running.add(event.call_id)
        return [CallTool(event.call_id, event.name, event.arguments, event.response_id, refused)]

    def done(self, call_id: str, output: str) -> Delivery:
        """A tool has given its result, or its error. Of an unknown call nothing follows."""
        for response_id, found in self._rounds.items():
            if call_id in found.running:
                found.running.remove(call_id)
                self._items += 1
                found.results.append(ToolOutput(f"sipua_tool_{self._items}", call_id, output))
                return self._delivery(response_id)
        return Delivery()

    def spoke(self, response_id: str) -> None:
        """The response has said something."""
        _remember(self._spoke, response_id)

    def response_over(self, response_id: str) -> Delivery:
        """However it ended: what it called has been called."""
        if response_id not in self._rounds:
            return Delivery()
        self._rounds[response_id].is_over = True
        return self._delivery(response_id)

    def caller_spoke(self) -> None:
        """A turn of the caller's: the model is not going round in a circle."""
        self._in_row = 0

    def _delivery(self, response_id: str) -> Delivery:
        found = self._rounds[response_id]
        if not found.is_over:
            return Delivery()
        items, found.results = tuple(found.results), []
        if found.running:
            return Delivery(items)
        del self._rounds[response_id]
        return Delivery(items, self._in_row <= 2 * ROUNDS_MAX, response_id in self._spoke)


def _remember(ids: dict[str, None], new: str) -> None:
    ids[new] = None
    if len(ids) > KNOWN_MAX:
        del ids[next(iter(ids))]
