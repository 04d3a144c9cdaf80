"""An agent and a voice service at the near end of a line, room for a phone at the far end, and all that can be kept:
captures of both ends, a recording of what the voice service heard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtp.g711 import Pcm
from rtp.traces import Trace
from rtp.wav import read_wav
from tests.peers.agent import Agent, Emulator
from tests.peers.baresip import Place
from tests.peers.line import Line

# Short, so that a conversation fits into a few seconds. Every utterance of the caller's gets the same answer.
SCRIPT = """\
[greeting]
say = "Goodbye."
audio = "{sounds}/vm-goodbye.wav"
[fallback]
say = "Agent logged in."
audio = "{sounds}/agent-loginok.wav"
"""
GREETING, QUESTION, ANSWER = "vm-goodbye", "agent-newlocation", "agent-loginok"


@dataclass(frozen=True, slots=True)
class Scene:
    """``end`` to read the captures: they are whole then."""

    line: Line
    agent: Agent
    emulator: Emulator
    sounds: Path
    recordings: Path

    @property
    def phone(self) -> Place:
        return Place(self.line.addresses["far"], self.line.far)

    def prompt(self, name: str) -> Pcm:
        return read_wav(self.sounds / f"{name}.wav")

    def heard_by_the_service(self) -> Pcm:
        """What the only session was told."""
        (recording,) = self.recordings.iterdir()
        return read_wav(recording)

    def the_call(self) -> dict[str, Any]:
        """The row of the only call, closed."""
        (row,) = self.agent.select("SELECT sip_session_id FROM voice_calls")
        return self.agent.closed_call(row["sip_session_id"])

    def keys(self) -> str:
        """All that were pressed."""
        rows = self.agent.select("SELECT content FROM transcripts WHERE role = 'system' ORDER BY t, sequence")
        return "".join(re.findall(r"\[keys pressed: (.*?)\]", " ".join(row["content"] for row in rows)))

    def end(self) -> None:
        self.agent.end()
        self.emulator.end()
        self.line.end()


@contextmanager
def scene(folder: Path, database: str, sounds: Path, **traces: Trace) -> Iterator[Scene]:
    """One call's worth of everything."""
    for name in ("line", "recordings"):
        (folder / name).mkdir()
    script = folder / "script.toml"
    script.write_text(SCRIPT.format(sounds=sounds))
    line = Line(folder / "line", **traces)
    try:
        flags = ("--script", str(script), "--record", str(folder / "recordings"))
        emulator = Emulator(folder / "emulator.log", *flags, prefix=line.near)
        try:
            near, far = line.addresses["near"], line.addresses["far"]
            agent = Agent(
                folder / "agent", database, emulator.base_url, trunks={"plain": f'["{far}/32"]'}, prefix=line.near,
                SIPUA_SIP__BIND=near, SIPUA_KEYS__LEDGER="keys",
            )  # fmt: skip
            try:
                yield Scene(line, agent, emulator, sounds, folder / "recordings")
            finally:
                agent.end()
        finally:
            emulator.end()
    finally:
        line.end()
