"""``sipua bench path``: how long a caller's frame takes to the voice service, and its first sound to the caller.

Uplink: RTP packet handed to the kernel by the caller → ``input_audio_buffer.append`` with its bytes received by the
service. The caller's clock is off by so much that one run sweeps its phase once over the agent's 20 ms grid.
Downlink: first ``response.output_audio.delta`` of an item sent → first RTP packet with its code received, at all
phases of the grid alike from a random one on, while the agent sends silence. Of it, ``tick_wait`` is from the sending
to the next tick and ``own`` the rest. The median of ``own`` shows how late ticks are; what the agent needs before the
tick shows as missed ticks, in the tail and in the mean (1 ms of work misses one in twenty, and a miss costs 20 ms), so
the means are told too.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from rtp.codec import codec_by_name
from sipua.bench.agent import running_agent
from sipua.bench.caller import BenchCall, placed_call
from sipua.bench.code import MAX_NUMBER, encode_frame, encode_item
from sipua.bench.evaluate import Downlink, Uplink, downlink, uplink
from sipua.bench.figures import machine, mean_ms, spread
from sipua.bench.floor import Floor, measured_floor
from sipua.bench.grid import at_phase, even_phases
from sipua.bench.quiet import no_collection
from sipua.bench.service import BenchSession, running_service
from sipua.errors import LocalError, SipuaError, Stopped

DEFAULT_SECONDS = 12.0
FRAME_S = 0.020
CALLER_ITEM = 0  # of the caller's frames; the service's items count from 1
ITEM_FRAMES = 4
PAUSE_S = 0.130  # from one item to the next at least: played by then, also after a missed tick
MEAN_PAUSE_S = PAUSE_S + FRAME_S / 2
WARM_UP_S = 1.0  # first packets and events load code and fill caches: sent and not counted
SETTLE_S = 0.5  # for what is under way
MAX_SECONDS = 1000.0  # the frame number has 16 bits
MAX_LOST = 0.05  # of the samples; with more, this is no measurement

TARGETS = {
    "uplink_ms": {"p50": 5.0},
    "downlink_ms": {"p50": 12.0, "p95": 22.0},
    "own_ms": {"p50": 5.0},
}

Show = Callable[[str], None]


class BenchFailed(SipuaError):
    """The run took place but measured nothing that could be relied on."""

    reason = "bench"


@dataclass(frozen=True, slots=True)
class PathOptions:
    """``samples`` (of the downlink) or else ``seconds`` say how long it measures."""

    codec: str = "PCMU"
    seconds: float = DEFAULT_SECONDS
    samples: int | None = None

    @property
    def expected_seconds(self) -> float:
        """How long the measuring takes, about."""
        return self.seconds if self.samples is None else self.samples * MEAN_PAUSE_S


async def run_path(options: PathOptions, stop: asyncio.Event, show: Show) -> dict[str, Any]:
    """Runs it; the document of ``sipua bench path --json``. Raises BenchFailed, LocalError."""
    facts = machine()
    show("starting database and agent (sipua serve)")
    codec = codec_by_name(options.codec)
    async with running_service() as service:

        async def measured() -> dict[str, Any]:
            async with running_agent(service.base_url) as agent:
                show(f"calling the agent, measuring for {options.expected_seconds:.0f} s")
                async with placed_call(f"sip:bench@{agent.ready['sip']}", codec) as call:
                    session = await service.session()
                    async with measured_floor(service.echo_url) as floor:
                        with no_collection():
                            recording = await _drive(call, session, options)
                    return document(recording, call, session, floor, options, facts)

        return await until_stopped(measured(), stop)


@dataclass(slots=True)
class Recording:
    """When each counted frame and item was sent."""

    frames: dict[int, float]
    items: dict[int, float]


async def _drive(call: BenchCall, session: BenchSession, options: PathOptions) -> Recording:
    """Warms up, measures, lets what is under way arrive. LocalError if the call ends meanwhile."""
    recording = Recording({}, {})
    talking = asyncio.create_task(talk(call, recording, options.expected_seconds), name="talk")
    answering = asyncio.create_task(_answer(session, recording, options), name="answer")
    ended = asyncio.create_task(call.ended.wait(), name="ended")
    tasks = (talking, answering, ended)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise LocalError(f"the agent ended the call while it was measured: {call.ending}")
        if talking.done():
            talking.result()
        answering.result()
        await asyncio.sleep(SETTLE_S)
        return Recording(dict(recording.frames), dict(recording.items))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def talk(call: BenchCall, recording: Recording, seconds: float) -> None:
    """The caller: a frame every 20 ms and a bit."""
    interval = FRAME_S * (1 + FRAME_S / (seconds + WARM_UP_S))
    begin = time.monotonic()
    for frame in range(MAX_NUMBER + 1):
        await asyncio.sleep(begin + frame * interval - time.monotonic())
        at = call.send(encode_frame(CALLER_ITEM, frame))
        if at - begin > WARM_UP_S:
            recording.frames[frame] = at
    raise BenchFailed("the caller ran out of frame numbers")


async def _answer(session: BenchSession, recording: Recording, options: PathOptions) -> None:
    """The service: an item at ever another phase, until there are enough."""
    at = time.monotonic()
    begin = at + WARM_UP_S
    for item, phase in zip(range(1, MAX_NUMBER + 1), even_phases(random.random()), strict=False):
        await asyncio.sleep(at_phase(at + PAUSE_S, phase) - time.monotonic())
        at = await session.speak(item, encode_item(item, ITEM_FRAMES))
        if at >= begin:
            recording.items[item] = at
        if options.samples is not None and len(recording.items) >= options.samples:
            return
        if options.samples is None and at - begin >= options.seconds:
            return
    raise BenchFailed("the service ran out of item numbers")


def document(
    recording: Recording,
    call: BenchCall,
    session: BenchSession,
    floor: Floor,
    options: PathOptions,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """What was measured. BenchFailed if too much of it was lost."""
    up = uplink(recording.frames, session.appended(), item=CALLER_ITEM)
    down = downlink(recording.items, call.heard())
    _judge(up, down)
    return {
        "uplink_ms": spread(up.seconds),
        "downlink_ms": spread(down.seconds),
        "tick_wait_ms": spread(down.tick_wait),
        "own_ms": spread(down.own),
        "samples": len(down.seconds),
        "uplink_samples": len(up.seconds),
        "lost": {"uplink": up.lost, "downlink": down.lost},
        "mean_ms": {
            "uplink": mean_ms(up.seconds),
            "downlink": mean_ms(down.seconds),
            "tick_wait": mean_ms(down.tick_wait),
            "own": mean_ms(down.own),
        },
        "floor_ms": floor.figures(),
        "targets": TARGETS,
        "codec": options.codec,
        "machine": facts,
    }


def _judge(up: Uplink, down: Downlink) -> None:
    for name, found in (("uplink", up), ("downlink", down)):
        count = len(found.seconds) + found.lost
        if not found.seconds or found.lost > MAX_LOST * count:
            raise BenchFailed(f"{name}: {found.lost} of {count} coded samples never came out of the agent")


async def until_stopped(work: Coroutine[Any, Any, dict[str, Any]], stop: asyncio.Event) -> dict[str, Any]:
    """``work``, or LocalError once the user has stopped it and it has cleaned up."""
    working = asyncio.create_task(work, name="bench")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Stopped("stopped")
        return working.result()
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
