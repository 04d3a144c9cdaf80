"""``sipua emulate line`` under test, and how a test gets into its ends."""

from __future__ import annotations

import ctypes
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rtp.traces import Trace, write
from tests.peers.processes import Process

CLONE_NEWNET = 0x40000000  # <sched.h>
T = TypeVar("T")


class Line(Process):
    """``near`` and ``far`` are prefixes of commands; ``counts`` what it said at its end."""

    def __init__(self, folder: Path, **traces: Trace) -> None:
        flags = []
        for name, trace in traces.items():
            write(trace, folder / f"{name}.txt")
            flags += [f"--{name.replace('_', '-')}", str(folder / f"{name}.txt")]
        super().__init__(["emulate", "line", "--capture", str(folder), *flags], {}, folder / "line.log")
        self.captures = {name: folder / f"{name}.pcap" for name in ("near", "far")}
        self.addresses = {name: str(self.ready[name]["address"]) for name in ("near", "far")}
        self.namespaces = {name: str(self.ready[name]["namespace"]) for name in ("near", "far")}
        self.near, self.far = (("ip", "netns", "exec", each) for each in self.namespaces.values())
        self.counts: dict[str, dict[str, int]] = {}

    def wait(self, timeout_s: float = 20.0) -> int:
        code = self.popen.wait(timeout_s)
        assert self.popen.stdout is not None
        with self.popen.stdout as said:
            self.counts = json.loads(said.read() or "{}")
        return code


def inside(namespace: str, make: Callable[[], T]) -> T:
    """What ``make`` returns when it runs in that network namespace: a socket stays in the one that it was made in."""
    made: list[T] = []

    def enter() -> None:
        with Path(f"/run/netns/{namespace}").open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        made.append(make())

    thread = threading.Thread(target=enter, name=f"in {namespace}")  # the namespace is the thread's
    thread.start()
    thread.join()
    return made[0]
