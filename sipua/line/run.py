"""The whole line: ends, captures, the carrier's thread, and what it counted."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rtp.errors import TraceError
from rtp.impairment import Impairment, fates_of
from rtp.traces import Trace, read, standard
from sipua.errors import ConfigError
from sipua.line.capture import Capture
from sipua.line.carrier import Way, carry
from sipua.line.ends import End, ends


@dataclass(frozen=True, slots=True)
class LineOptions:
    """What happens on the way to each end (None: nothing); ``capture`` is a folder for near.pcap and far.pcap."""

    to_near: Trace | None = None
    to_far: Trace | None = None
    capture: Path | None = None


def trace_of(text: str, seed: int) -> Trace:
    """A file's trace, or a generated one by its name. Raises ConfigError."""
    if Path(text).exists():
        try:
            return read(Path(text))
        except TraceError as error:
            raise ConfigError(str(error)) from None
    traces = {trace.name: trace for trace in standard(seed)}
    if text not in traces:
        names = ", ".join(repr(name) for name in traces)
        raise ConfigError(f"trace {text!r}: neither a file nor one of {names}")
    return traces[text]


async def run_line(
    options: LineOptions, stop: asyncio.Event, ready: Callable[[End, End], None]
) -> dict[str, Any]:
    """A line until ``stop``; what it counted. Raises LocalError."""
    with contextlib.ExitStack() as stack:
        near, far = stack.enter_context(ends())
        at_near, at_far = (_capture(stack, options.capture, name) for name in ("near", "far"))
        ways = (
            Way(far, near, _impairment(options.to_near), (at_far, at_near)),
            Way(near, far, _impairment(options.to_far), (at_near, at_far)),
        )
        wake = os.eventfd(0, os.EFD_CLOEXEC)
        stack.callback(os.close, wake)
        carrying = asyncio.create_task(asyncio.to_thread(carry, ways, wake), name="carry")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            ready(near, far)
            await asyncio.wait({carrying, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            os.eventfd_write(wake, 1)
            stopping.cancel()
            await carrying  # before the ends go
        return {name: _figures(way) for name, way in zip(("to_near", "to_far"), ways, strict=True)}


def _capture(stack: contextlib.ExitStack, folder: Path | None, name: str) -> Capture | None:
    return stack.enter_context(Capture(folder / f"{name}.pcap")) if folder is not None else None


def _impairment(trace: Trace | None) -> Impairment | None:
    return Impairment(fates_of(trace)) if trace is not None else None


def _figures(way: Way) -> dict[str, int]:
    counts = asdict(way.impairment.counts) if way.impairment is not None else {}
    return {**counts, "refused": way.refused}
