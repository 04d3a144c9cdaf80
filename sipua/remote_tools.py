"""Tools that the voice service calls by itself at remote servers (``type: mcp``): rows, and answers to what it asks.

No I/O, no clock. Order and fields are from the specification, not observed. Whether the service goes on speaking by
itself after such a call is not said there; so, where the response ends without another word, an answer is asked for:
one too many is a benign error.
"""

from __future__ import annotations

from collections.abc import Mapping

from sipua.actions import Action, AnswerApproval, RemoteToolCalled, RemoteToolDone
from sipua.realtime import events as ev

CALLS_MAX = 64  # begun and not done
ALL = "*"
REFUSED = "not approved: refused by the settings"


class RemoteTools:
    """``approvals``: of the servers that ask, the tools that may be called; ``*`` is all of them."""

    def __init__(self, approvals: Mapping[str, tuple[str, ...]]) -> None:
        self._approvals = approvals
        self._calls: dict[str, tuple[str, str]] = {}  # item → server and name, arguments not complete
        self._begun: dict[str, None] = {}
        self._wants: dict[str, str] = {}  # item → response that ended in it
        self._answers = 0

    def on_event(self, event: ev.Event) -> list[Action]:
        match event:
            case ev.McpCall() if len(self._calls) < CALLS_MAX:
                self._calls[event.item_id] = (event.server, event.name)
            case ev.McpArguments() if event.item_id in self._calls:
                return self._begin(event.item_id, *self._calls[event.item_id], event.arguments)
            case ev.McpCallDone():
                begun = self._begin(event.item_id, event.server, event.name, event.arguments)
                self._calls.pop(event.item_id, None)
                self._begun.pop(event.item_id, None)
                self._want(event.item_id, event.response_id)
                return [*begun, RemoteToolDone(event.item_id, event.output, event.error)]
            case ev.McpApproval():
                return self._approval(event)
            case ev.OutputItemAdded(type="message"):
                self._wants = {item: of for item, of in self._wants.items() if of != event.response_id}
            case _:
                pass
        return []

    def response_over(self, response_id: str) -> list[str]:
        """Items after which an answer is wanted."""
        wanted = [item for item, of in self._wants.items() if of == response_id]
        for item in wanted:
            del self._wants[item]
        return wanted

    def _begin(self, item_id: str, server: str, name: str, arguments: str) -> list[Action]:
        if item_id in self._begun or len(self._begun) >= CALLS_MAX:
            return []
        self._begun[item_id] = None
        return [RemoteToolCalled(item_id, server, name, arguments)]

    def _approval(self, event: ev.McpApproval) -> list[Action]:
        tools = self._approvals.get(event.server, ())
        approve = ALL in tools or event.name in tools
        self._answers += 1
        item_id = f"sipua_approval_{self._answers}"
        self._want(item_id, event.response_id)
        answered: list[Action] = [AnswerApproval(item_id, event.item_id, approve)]
        if approve:
            return answered  # its row is that of the call which follows
        called = RemoteToolCalled(event.item_id, event.server, event.name, event.arguments)
        return [called, RemoteToolDone(event.item_id, "", REFUSED), *answered]

    def _want(self, item_id: str, response_id: str) -> None:
        if len(self._wants) < CALLS_MAX:
            self._wants[item_id] = response_id
