"""`sipua serve` and `sipua emulate realtime` under test, and what they leave behind."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from rtp.codec import CODECS
from rtp.g711 import Pcm
from rtp.wav import read_wav
from sipua.control import ask
from sipua.pj.build import missing_codecs
from tests.peers.processes import Process, until

HAVE = [name for name in CODECS if name not in missing_codecs()]
# Peers choose their trunk by the loopback address they call from.
TRUNKS = {
    "plain": f'["127.0.0.1/32"]\nrtp_timeout_s = 20\ncodecs = {json.dumps(HAVE)}',
    "brief": '["127.0.0.2/32"]\nmax_call_s = 2',
    "impatient": '["127.0.0.3/32"]\nrtp_timeout_s = 1.5',
    "info": '["127.0.0.5/32"]\ndtmf = "info"',
    "inband": '["127.0.0.6/32"]\ndtmf = "inband"',
    "alaw": '["127.0.0.4/32"]\ncodecs = ["PCMA"]',
}
NO_TOOLS: Mapping[str, str] = {}
STRANGER = "127.0.0.9"
KEY = "sk-of-the-tests"


def write_conf(
    folder: Path, trunks: Mapping[str, str], tools: Mapping[str, str] = NO_TOOLS, departments: str = ""
) -> Path:
    """A configuration folder with these trunks (name → its ACL and further lines), files of tools and departments."""
    (folder / "trunks").mkdir(parents=True)
    if departments:
        (folder / "departments.toml").write_text(departments)
    (folder / "tools").mkdir()
    for name, text in tools.items():
        (folder / "tools" / f"{name}.toml").write_text(text)
    for name, lines in trunks.items():
        provider = "" if "provider = " in lines else 'provider = "loopback"\n'
        text = f'schema = 1\nname = "{name}"\n{provider}inbound_acl = {lines}\n'
        (folder / "trunks" / f"{name}.toml").write_text(text)
    return folder


class Emulator(Process):
    """The voice service's stand-in."""

    def __init__(self, log: Path, *flags: str, prefix: Sequence[str] = ()) -> None:
        super().__init__(["emulate", "realtime", *flags], {}, log, prefix=prefix)
        self.base_url = str(self.ready["base_url"])
        self.recordings: Path | None = None  # a WAV of each session

    def last_heard(self) -> Pcm:
        """What the last session was told, at 8 kHz."""
        assert self.recordings is not None
        return read_wav(max(self.recordings.iterdir(), key=lambda each: int(each.stem.rpartition("-")[2])))


class Agent(Process):
    """The agent on free ports, with a database of its own."""

    def __init__(
        self,
        folder: Path,
        database: str,
        base_url: str,
        *,
        trunks: Mapping[str, str] = TRUNKS,
        tools: Mapping[str, str] = NO_TOOLS,
        departments: str = "",
        prefix: Sequence[str] = (),
        **settings: str,
    ) -> None:
        folder.mkdir(parents=True)
        self.database = database
        env = {
            "SIPUA_CONF": str(write_conf(folder / "conf", trunks, tools, departments)),
            "SIPUA_STATE_DIR": str(folder / "state"),
            "SIPUA_NODE": "peers",
            "SIPUA_SIP__PORT": "0",
            "SIPUA_RTP__PORT_MIN": "0",
            "SIPUA_RTP__PORT_MAX": "0",
            "SIPUA_HTTP__PORT": "0",
            "DATABASE_URL": database,
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": base_url,
        }
        self.state = folder / "state"
        super().__init__(["serve"], env | settings, folder / "serve.log", prefix=prefix)
        self.sip = str(self.ready["sip"])
        self.port = int(self.sip.rpartition(":")[2])

    # ---- its ledger ----------------------------------------------------------------------------------------

    def select(self, query: str, *values: object) -> list[dict[str, Any]]:
        with psycopg.connect(self.database, row_factory=dict_row) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def calls(self, sip_call_id: str) -> list[dict[str, Any]]:
        """The rows of the calls whose Call-ID begins like this."""
        query = "SELECT * FROM voice_calls WHERE starts_with(sip_session_id, %s) ORDER BY started_at"
        return self.select(query, sip_call_id)

    def closed_calls(self, sip_call_id: str, count: int = 1) -> list[dict[str, Any]]:
        """The same once there are so many and all are closed (the writer is some 100 ms behind)."""

        def ready() -> list[dict[str, Any]]:
            rows = self.calls(sip_call_id)
            done = len(rows) == count and all(row["ended_at"] is not None for row in rows)
            return rows if done else []

        try:
            rows: list[dict[str, Any]] = until(ready, f"{count} closed rows of {sip_call_id}")
        except AssertionError as error:
            raise AssertionError(f"{error}; there is: {self.calls(sip_call_id)}; {self.stderr}") from None
        return rows

    def closed_call(self, sip_call_id: str) -> dict[str, Any]:
        return self.closed_calls(sip_call_id)[0]

    def events(self, call: Mapping[str, Any]) -> list[str]:
        """Types of a call's events, in order."""
        query = "SELECT type FROM voice_events WHERE call_id = %s ORDER BY t, created_at"
        return [row["type"] for row in self.select(query, call["id"])]

    def sessions(self, call: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self.select("SELECT * FROM openai_sessions WHERE call_id = %s", call["id"])

    # ---- its metrics ---------------------------------------------------------------------------------------

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of ``name`` that carry ``labels``."""
        with urllib.request.urlopen(f"http://{self.ready['http']}/metrics", timeout=5) as response:
            text = response.read().decode()
        total = 0.0
        for line in text.splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match and all(f'{key}="{value}"' in (match[1] or "") for key, value in labels.items()):
                total += float(match[2])
        return total

    def stalled_frames(self) -> int:
        """Of 20 ms, that the machine had no time for, of all calls alike; 0 where it is not busy."""
        return int(self.metric("sipua_rtp_pacer_ticks_skipped_total"))

    def idle(self) -> None:
        """Waits until no call is up."""
        until(lambda: self.metric("sipua_calls_active") == 0, "no call is up")

    def tasks(self) -> int:
        """Its asyncio tasks, as it tells them on its control channel."""
        return int(asyncio.run(ask(self.state, {"command": "status"}))["tasks"])

    def open_sockets(self) -> int:
        """UDP sockets it holds: two per call and that of SIP."""
        with Path(f"/proc/{self.pid}/net/udp").open() as table:
            inodes = {line.split()[9] for line in list(table)[1:]}
        return sum(1 for link in self.descriptors() if link[8:-1] in inodes and link.startswith("socket:"))
