"""sipp with scenarios of ours (``sipp/*.xml``): it signals, a ``Phone`` of the test's own carries the audio."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.peers.processes import until

SCENARIOS = Path(__file__).with_name("sipp")
TIMEOUT_S = 40
DEFAULT_PORT = 5060


@dataclass(frozen=True, slots=True)
class Message:
    """One SIP message as sipp saw it."""

    is_received: bool
    text: str

    @property
    def start_line(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def body(self) -> str:
        return self.text.partition("\n\n")[2]

    def header(self, name: str) -> str | None:
        found = re.search(rf"^{name}\s*:\s*(.*)$", self.text.partition("\n\n")[0], re.I | re.M)
        return found[1].strip() if found else None


class Sipp:
    """A running sipp."""

    def __init__(self, popen: subprocess.Popen[bytes], call_id: str, folder: Path) -> None:
        self._popen = popen
        self._folder = folder
        self.call_id = call_id

    def wait(self, timeout_s: float = TIMEOUT_S) -> Sipp:
        """Until the scenario is through; it must have gone as written."""
        try:
            code = self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.stop()
            raise AssertionError(f"sipp did not end: {self.story()}") from None
        assert code == 0, f"sipp: exit code {code}: {self.story()}"
        return self

    def stop(self) -> None:
        """Kills it if it still runs."""
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def is_listening(self, port: int) -> bool:
        """On that port, by UDP or TCP, in its network namespace."""
        assert self.is_running, self.story()
        tables = (Path(f"/proc/{self._popen.pid}/net/{name}").read_text() for name in ("udp", "tcp"))
        return any(re.search(rf"^ *\d+: \w+:{port:04X} ", table, re.M) for table in tables)

    def messages(self) -> list[Message]:
        """What went over the wire so far, in order."""
        path = self._folder / "messages.log"
        text = path.read_text(errors="replace").replace("\r", "") if path.exists() else ""
        parts = re.split(r"^-{20,}[^\n]*\n(?:UDP|TCP) message (sent|received) [^\n]*\n\n", text, flags=re.M)
        pairs = zip(parts[1::2], parts[2::2], strict=True)
        return [Message(kind == "received", message.rstrip("\n")) for kind, message in pairs]

    def received(self, start: str) -> list[Message]:
        """Those received whose start line begins with ``start``; ``"200"`` means that status."""
        prefix = f"SIP/2.0 {start}" if start.isdigit() else start
        return [m for m in self.messages() if m.is_received and m.start_line.startswith(prefix)]

    def got(self, start: str) -> Callable[[], list[Message]]:
        return lambda: self.received(start)

    def story(self) -> str:
        errors = self._folder / "errors.log"
        lines = [f"{'<' if m.is_received else '>'} {m.start_line}" for m in self.messages()]
        return "\n".join([*lines, errors.read_text(errors="replace") if errors.exists() else ""])


def start_sipp(
    folder: Path,
    target: str,
    scenario: str,
    *,
    source: str = "127.0.0.1",
    duration_ms: int = 1000,
    calls: int = 1,
    code: int = 0,
    flags: tuple[str, ...] = (),
    prefix: tuple[str, ...] = (),
    timeout_s: int = TIMEOUT_S,
    **keys: Any,
) -> Sipp:
    """Starts a scenario against ``target`` (host:port), or one that waits for a call (""): then it can be called.

    ``prefix`` stands before the command; ``keys`` fill its [words]; the defaults make a plain PCMU offer or answer.
    """
    call_id = f"{scenario}-{uuid4().hex[:12]}"
    folder = folder / call_id
    folder.mkdir(parents=True)
    words: dict[str, Any] = {"caller": "+250788123456", "rtp_port": 9, "formats": "0 8 101", "rtp_ip": source}
    words |= {"direction": "sendrecv", **keys}
    for number in ("2", "3"):
        for name in ("formats", "rtp_ip", "rtp_port", "direction"):
            words.setdefault(name + number, words[name])
    text = (SCENARIOS / f"{scenario}.xml").read_text().replace("CODE", str(code))  # no keyword works there
    if "101" not in words["formats"].split():
        text = re.sub(r"^ *a=(rtpmap|fmtp):101 .*\n", "", text, flags=re.M)
    (folder / "scenario.xml").write_text(text)
    command = [
        *prefix, "sipp", *([target] if target else []), "-sf", str(folder / "scenario.xml"), "-i", source,
        "-s", "agent", "-nostdin",
        "-m", str(calls), "-l", "1", "-d", str(duration_ms), "-cid_str", f"{call_id}-%u@peers",
        "-timeout", str(timeout_s), "-timeout_error", "-nd",
        "-trace_msg", "-message_file", str(folder / "messages.log"),
        "-trace_err", "-error_file", str(folder / "errors.log"), *flags,
    ]  # fmt: skip
    for name, value in words.items():
        command += ["-key", name, str(value)]
    popen = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
    )
    process = Sipp(popen, call_id, folder)
    if not target:
        port = int(flags[flags.index("-p") + 1]) if "-p" in flags else DEFAULT_PORT
        try:
            until(lambda: process.is_listening(port), f"sipp listens on {port}")
        except BaseException:
            process.stop()
            raise
    return process
