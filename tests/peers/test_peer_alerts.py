"""`sipua serve` tells that its trunk and its database are gone, once each, and that they are back."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import conninfo

from storage.rehearsal import Rehearsal
from tests.peers.agent import Agent, Emulator
from tests.peers.processes import until
from tests.peers.test_peer_trunks import is_registered, registering
from tests.peers.trunk_side import trunk_side

pytestmark = pytest.mark.peer
TELL = "import sys; open(sys.argv[1], 'ab').write(sys.stdin.buffer.read() + b'\\n')"


def told(file: Path) -> list[tuple[str, str]]:
    """Type and subject or kind of each, in order."""
    lines = file.read_text().splitlines() if file.exists() else []
    documents: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [(each["type"], each["data"]["kind"]) for each in documents]


def test_a_trunk_and_the_database_that_go_away_and_come_back(
    start_agent: Callable[..., Agent], emulator: Emulator, postgres_server: str, tmp_path: Path
) -> None:
    file = tmp_path / "told"
    with trunk_side() as registrar:
        trunk = registering(
            registrar, tmp_path, options_interval_s=0.5, options_timeout_s=0.2, hold_down_s=0.5
        )
        agent = start_agent(
            emulator.base_url,
            trunks={"carrier": trunk},
            SIPUA_ALERTS__COMMAND=json.dumps([sys.executable, "-c", TELL, str(file)]),
            SIPUA_ALERTS__AFTER_S="0.2",
            SIPUA_ALERTS__CLEAR_S="0.5",
            SIPUA_ALERTS__OFF='["disk"]',
        )
        gone = Rehearsal(postgres_server, str(conninfo.conninfo_to_dict(agent.database)["dbname"]))
        until(is_registered(agent), "registered")
        registrar.is_silent = True
        asyncio.run(gone.take_away())
        both = {("alert.opened", "trunk"), ("alert.opened", "database")}
        until(lambda: set(told(file)) == both, "both told", 30)
        assert agent.metric("sipua_alerts_open", kind="trunk") == 1
        registrar.is_silent = False
        asyncio.run(gone.give_back())
        until(lambda: len(told(file)) >= 4, f"the recoveries after {told(file)}", 30)
        kept = agent.state / "alerts.json"
        until(lambda: not json.loads(kept.read_text())["incidents"], "nothing left to tell")
        agent.end()  # while there is somebody who takes its bindings back
    assert set(told(file)[2:]) == {("alert.recovered", "trunk"), ("alert.recovered", "database")}
    assert len(told(file)) == 4
