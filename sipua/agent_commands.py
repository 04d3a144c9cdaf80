"""What a running agent answers on its control channel, but ``watch``. One per process, made by the composition root.

``fleet``, ``calls``, ``dialling`` and ``held`` (why no row is written yet) are set once they are there: the
channel is open before anything else is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from sipua.calls_up import CallsUp
from sipua.control import Handler
from sipua.dial_request import dial_request
from sipua.dial_service import DialService
from sipua.errors import ConfigError, LocalError
from sipua.fleet import Fleet
from sipua.fleet_view import route_document
from sipua.trunk_files import TrunkFiles

Request = Mapping[str, Any]
Answer = Mapping[str, Any]


class AgentCommands:
    """``line`` is the ready line, as far as it is known."""

    def __init__(self, line: Mapping[str, Any], files: TrunkFiles) -> None:
        self.fleet: Fleet | None = None
        self.calls: CallsUp | None = None
        self.dialling: DialService | None = None
        self.held: Callable[[], str] = str
        self._line = line
        self._files = files

    def handlers(self) -> dict[str, Handler]:
        """By command."""
        return {
            "status": self.status,
            "trunks": self.trunks,
            "ping": self.ping,
            "route": self.route,
            "dial": self.dial,
        }

    async def status(self, _: Request) -> Answer:
        calls = self.calls.calls_up if self.calls is not None else 0
        return {
            **self._line, "ledger_held": self.held(), "calls": calls, "tasks": len(asyncio.all_tasks()),
            "trunks": self._files.status(),
        }  # fmt: skip

    async def trunks(self, _: Request) -> Answer:
        """How every trunk stands, and why the files were not read again when that was asked for ("" if they were)."""
        why = self._files.status()["error"]
        return {"trunks": [each.as_dict() for each in self._fleet().views()], "files_refused": why}

    async def ping(self, request: Request) -> Answer:
        """OPTIONS to every target of the trunk ``trunk``, now."""
        name = _text(request, "trunk")
        pongs = await self._fleet().ping(name)
        return {"trunk": name, "targets": [each.as_dict() for each in pongs]}

    async def route(self, request: Request) -> Answer:
        """Where a call to ``to`` from ``from`` on ``trunk`` (both may be "") would go."""
        fleet = self._fleet()
        found = fleet.dialler.route(_text(request, "to"), _text(request, "from"), _text(request, "trunk"))
        return route_document(found, fleet.faults)

    async def dial(self, request: Request) -> Answer:
        """Places a call (``sipua.dial_request.DialRequest``), and waits for its answer or end."""
        if self.dialling is None:
            raise LocalError("the agent is starting: its trunks are not up yet")
        asked = {key: value for key, value in request.items() if key != "command"}
        return await self.dialling.dial(dial_request(asked))

    def _fleet(self) -> Fleet:
        if self.fleet is None:
            raise LocalError("the agent is starting: its trunks are not up yet")
        return self.fleet


def _text(request: Request, key: str) -> str:
    value = request.get(key, "")
    if not isinstance(value, str):
        raise ConfigError(f"{key} = {value!r}: expected a string")
    return value
