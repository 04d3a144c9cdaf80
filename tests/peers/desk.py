"""An agent that transfers its callers, the people whom it calls for them, and what the two hear of each other."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from rtp.g711 import Pcm
from rtp.wav import WavWriter
from tests.peers.agent import Agent, Emulator
from tests.peers.phone import Phone
from tests.peers.processes import similarity, until
from tests.ports import free_port

if TYPE_CHECKING:
    from tests.peers.conftest import StartSipp

TRANSFERS = """
user_prefix = ""
[greeting]
say = "One moment."
[[greeting.tool]]
name = "transfer_to_human"
arguments = { department = "support", reason = "a complaint" }
"""
DEPARTMENTS = '[departments.support]\ntarget = "+250788000001"\n'
CALLER, DIALLED = "+12025550100", "+250788000777"
CALLER_HEADER = f"<sip:{CALLER}@127.0.0.1>".encode()
RATE = 8000
SOUND, PIECE = 16_000, 2_000  # samples
TWICE = ("question_en.wav", "moto_en.wav")  # what the caller says, and the person


class Desk:
    """An agent that transfers every caller at once, and the carriers of those whom it calls, the first one first.

    ``trunks`` are besides those of callers who can be asked to leave us (127.0.0.1) and who cannot (127.0.0.2).
    """

    def __init__(
        self,
        folder: Path,
        dsn: str,
        emulator: Emulator,
        carriers: Sequence[str] = ("carrier",),
        trunks: Mapping[str, str] = MappingProxyType({}),
        **settings: Any,
    ) -> None:
        self.emulator = emulator
        self.ports = {name: free_port() for name in carriers}
        callers = {"plain": '["127.0.0.1/32"]', "bridge": '["127.0.0.2/32"]\ntransfer_by = "bridge"'}
        called = {
            name: f'[]\ndirection = "outbound"\ndomain = "127.0.0.1:{self.ports[name]}"\npriority = {priority}\n'
            'caller_id = "+250788000009"\nallowed_caller_ids = ["+1202555*"]\noptions_interval_s = 0\n'
            'diversion = "send"'
            for priority, name in enumerate(carriers)
        }
        self.agent = Agent(
            folder,
            dsn,
            emulator.base_url,
            trunks={**callers, **trunks, **called},
            departments=DEPARTMENTS,
            **settings,
        )
        for language in ("en", "rw"):
            self._be_brief(folder / "conf" / "languages" / language)
        self.agent.signal(signal.SIGHUP)
        self.agent.says("languages and instructions read again")

    def _be_brief(self, folder: Path) -> None:
        """What it says of transfers takes a tenth of a second, in place of three or four whole ones."""
        folder.mkdir(parents=True)
        for phrase in ("transferring", "transfer_failed"):
            with WavWriter(folder / f"{phrase}.wav", RATE) as file:
                file.write(np.round(4000 * np.sin(np.arange(RATE // 10) / 3)).astype(np.int16))

    def person(self, sipp: StartSipp, scenario: str, carrier: str = "carrier", **options: Any) -> Any:
        """Whoever answers that number."""
        return sipp("", scenario, flags=("-p", str(self.ports[carrier])), **options)

    def sessions(self, call: dict[str, Any]) -> list[tuple[str, str]]:
        query = "SELECT * FROM openai_sessions WHERE call_id = %s ORDER BY started_at"
        rows = self.agent.select(query, call["id"])
        return [(row["metadata"]["opened_for"], row["status"]) for row in rows]

    def transfer(self, call: dict[str, Any]) -> dict[str, Any]:
        """As it stands."""
        (row,) = self.agent.select("SELECT metadata FROM voice_calls WHERE id = %s", call["id"])
        found: dict[str, Any] = row["metadata"].get("transfer", {})
        return found

    def tool(self, call: dict[str, Any]) -> dict[str, Any]:
        (row,) = self.agent.select("SELECT * FROM mcp_tool_calls WHERE call_id = %s", call["id"])
        return row

    def failed(self, call: dict[str, Any]) -> str:
        """What the tool was told, if it is over and failed."""
        query = "SELECT error FROM mcp_tool_calls WHERE call_id = %s AND error IS NOT NULL"
        return "".join(row["error"] for row in self.agent.select(query, call["id"]))

    def attempts(self, call: dict[str, Any]) -> list[tuple[str, int | None, str]]:
        query = "SELECT trunk, code, decision FROM sipua.call_attempts WHERE call_id = %s ORDER BY ordinal"
        rows = self.agent.select(query, call["id"])
        return [(row["trunk"], row["code"], row["decision"]) for row in rows]

    def spoken(self, call: dict[str, Any], role: str) -> list[str]:
        query = "SELECT content FROM transcripts WHERE call_id = %s AND role = %s ORDER BY sequence"
        return [row["content"] for row in self.agent.select(query, call["id"], role)]

    def open_call(self) -> dict[str, Any]:
        """The only one, as soon as it is in the ledger."""
        query = "SELECT * FROM voice_calls WHERE ended_at IS NULL"
        (row,) = until(lambda: self.agent.select(query), "the call's row")
        return dict(row)


def is_heard(said: Pcm, phone: Phone) -> bool:
    """Piece by piece: what waits between two legs is shortened in pauses of speech."""
    return likeness(said, phone.audio()) > 0.95


def likeness(said: Pcm, heard: Pcm) -> float:
    """Of its pieces, the one in the middle."""
    pieces = [said[at : at + PIECE] for at in range(0, said.size - PIECE + 1, PIECE)]
    alike = [similarity(heard, each) for each in pieces if np.abs(each.astype(int)).max() > 2000]
    return float(np.median(alike)) if len(alike) > 2 else 0.0


def keys_of(phone: Phone) -> set[int]:
    return {each.payload[0] for each in phone.heard if each.payload_type == 101}
