"""`sipua` commands as a user starts them: a process of their own, their ready line, their exit code, their stderr."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtp.g711 import Pcm

READY_TIMEOUT_S = 40.0
END_TIMEOUT_S = 20.0
PATIENCE_S = 30.0  # with the world; only what fails waits so long
UNWANTED = ("Traceback", "failed by a bug", " callback ", "Task was destroyed", "was never awaited")


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours without any setting of the developer's, plus ``extra``."""
    own = ("SIPUA_", "OPENAI_", "DATABASE_URL")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)} | dict(extra)


def arguments_of(command: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "sipua", *command]


def found(heard: Pcm, said: Pcm) -> tuple[float, int]:
    """Peak of the normalised cross-correlation, 0..1, of ``said`` within ``heard``, and the sample where it begins."""
    a, b = heard.astype(np.float64), said.astype(np.float64)
    if a.size < b.size:
        return 0.0, 0
    size = 1 << (a.size + b.size).bit_length()
    product = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    sums = np.concatenate([[0.0], np.cumsum(a**2)])
    energy = sums[b.size :] - sums[: -b.size]  # of ``heard`` under ``said`` at every place
    likeness = np.abs(product[: energy.size]) / np.sqrt(np.maximum(energy, 1.0) * np.sum(b**2))
    return float(np.max(likeness)), int(np.argmax(likeness))


def similarity(heard: Pcm, said: Pcm) -> float:
    """How well ``said`` is heard at the place where it is heard best, 0..1."""
    return found(heard, said)[0]


def run(
    command: Sequence[str],
    timeout_s: float = 60.0,
    *,
    env: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [*prefix, *arguments_of(command)], env=clean_environment(env or {}), capture_output=True, text=True,
        timeout=timeout_s, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


class Process:
    """One long-running command, with ``prefix`` before it. ``end`` checks how it ended."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], log: Path, *, prefix: Sequence[str] = ()
    ) -> None:
        self.log = log
        with log.open("wb") as stderr:
            self.popen = subprocess.Popen(
                [*prefix, *arguments_of(command)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
                env=clean_environment(env), start_new_session=True,
            )  # fmt: skip
        try:
            self.ready: dict[str, Any] = json.loads(self._first_line())
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def stderr(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, text: str) -> None:
        """Waits for it in its log, which a thread of its own writes."""
        until(lambda: text in self.stderr, f"{text!r} in its log")

    def _first_line(self) -> bytes:
        assert self.popen.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.popen.stdout, selectors.EVENT_READ)
            assert selector.select(READY_TIMEOUT_S), f"not ready within {READY_TIMEOUT_S} s: {self.stderr}"
        line: bytes = self.popen.stdout.readline()
        assert line, f"ended without a ready line: {self.stderr}"
        return line

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def wait(self, timeout_s: float = END_TIMEOUT_S) -> int:
        code = self.popen.wait(timeout_s)
        assert self.popen.stdout is not None
        self.popen.stdout.close()
        return code

    def kill(self) -> None:
        """At once, as a crash or the power would."""
        self.popen.kill()
        self.wait()

    def end(self) -> None:
        """SIGTERM (if it still runs); it must end in order, with nothing odd said on the way."""
        if self.popen.returncode is None:
            self.signal(signal.SIGTERM)
            try:
                code = self.wait()
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            assert code == 0, f"exit code {code}: {self.stderr}"
        said = self.stderr
        odd = [word for word in UNWANTED if word in said]
        assert not odd, f"{odd} in its log: {said}"

    # ---- what /proc says -----------------------------------------------------------------------------------

    def descriptors(self) -> list[str]:
        """Where each open file descriptor leads."""
        found = []
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found.append(os.readlink(entry))
            except OSError:
                continue  # closed meanwhile
        return found

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))


def until(condition: Any, what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Waits for the world: the value of ``condition()`` once it is true."""
    give_up = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < give_up, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)
    return value
