"""``sipua bench turns``: how soon the agent is silent when the caller speaks, and whether it says truly what was heard.

A bench service speaks coded items (two in every other response, of which the first ends within a frame) and at a random
moment says that the caller speaks. What left is what the caller's socket got; what the agent claims are its
``conversation.item.truncate``. Half of the responses are complete by then; the others are cancelled by the service, and
a delta of theirs is still under way. The caller's frames and the first deltas are timed as ``bench path`` does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pybase64

from rtp.codec import CODECS
from sipua.bench.agent import running_agent
from sipua.bench.caller import BenchCall, placed_call
from sipua.bench.code import CELL_BYTES, encode_item, find_cells
from sipua.bench.evaluate import Heard, downlink, uplink
from sipua.bench.figures import machine, percentile, spread
from sipua.bench.path import CALLER_ITEM, SETTLE_S, WARM_UP_S, BenchFailed, Recording, talk, until_stopped
from sipua.bench.quiet import no_collection
from sipua.bench.service import BenchSession, Event, response_of, running_service
from sipua.errors import LocalError

DEFAULT_INTERRUPTIONS = 200
MAX_INTERRUPTIONS = 2000
CELL_MS = 2
LONG_CELLS = 1000  # 2 s: always cut off
FIRST_CELLS = (30, 200)  # of a first item: 60 to 400 ms
CUT_AFTER_S = (0.03, 0.65)
REST_S = 0.12  # for what is under way, and what follows a missed tick
MEAN_S = sum(CUT_AFTER_S) / 2 + REST_S
MAX_LOST = 0.05

TARGETS = {
    "stop_ms": {"p50": 20.0, "p95": 30.0},
    "truncate_error_ms": {"max": 20.0},
    "uplink_ms": {"p50": 5.0},
    "downlink_ms": {"p50": 12.0},
}

Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Interruption:
    """``at``: speech_started was handed to the kernel; ``cells``: coded item → how long it was."""

    at: float
    cells: Mapping[int, int]


@dataclass(slots=True)
class Judged:
    """Seconds to the last packet of what was interrupted, and by how many milliseconds each truncation was off."""

    stop: list[float] = field(default_factory=list)
    errors_ms: list[float] = field(default_factory=list)
    missing: int = 0  # items that were cut off and not truncated
    unwanted: int = 0  # truncations of items that had been heard, or a second one


async def run_turns(interruptions: int, stop: asyncio.Event, show: Show) -> dict[str, Any]:
    """The document of ``sipua bench turns --json``. Raises BenchFailed, LocalError."""
    facts = machine()
    show("starting database and agent (sipua serve)")
    async with running_service() as service:

        async def measured() -> dict[str, Any]:
            async with running_agent(service.base_url) as agent:
                show(f"calling the agent, {interruptions} interruptions: {interruptions * MEAN_S:.0f} s")
                async with placed_call(f"sip:bench@{agent.ready['sip']}", CODECS["PCMU"]) as call:
                    session = await service.session()
                    with no_collection():
                        done, recording = await _drive(call, session, interruptions)
                    return document(done, recording, call, session) | {"machine": facts}

        return await until_stopped(measured(), stop)


async def _drive(
    call: BenchCall, session: BenchSession, interruptions: int
) -> tuple[list[Interruption], Recording]:
    recording = Recording({}, {})
    done: list[Interruption] = []
    talking = asyncio.create_task(talk(call, recording, interruptions * MEAN_S), name="talk")
    cutting = asyncio.create_task(_interrupt(session, interruptions, done, recording), name="interrupt")
    ended = asyncio.create_task(call.ended.wait(), name="ended")
    tasks = (talking, cutting, ended)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise LocalError(f"the agent ended the call while it was measured: {call.ending}")
        if talking.done():
            talking.result()
        cutting.result()
        await asyncio.sleep(SETTLE_S)
        return done, recording
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _interrupt(
    session: BenchSession, count: int, done: list[Interruption], recording: Recording
) -> None:
    await asyncio.sleep(WARM_UP_S)
    item = 0
    for number in range(count):
        cells = {item + 1: LONG_CELLS}
        if number % 2:
            cells = {item + 1: random.randint(*FIRST_CELLS), item + 2: LONG_CELLS}
        item = max(cells)
        is_complete = number % 4 < 2
        recording.items[item - len(cells) + 1] = await _speak(session, number, cells, is_complete=is_complete)
        await asyncio.sleep(random.uniform(*CUT_AFTER_S))
        at = time.monotonic()
        await session.send(
            {"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": f"user_{number}"}
        )
        done.append(Interruption(at, cells))
        if not is_complete:
            await _cancelled(session, number, item)
        await _heard(session, number)
        await asyncio.sleep(REST_S)


async def _speak(session: BenchSession, number: int, cells: Mapping[int, int], *, is_complete: bool) -> float:
    """A response; when its first delta left."""
    events = response_of(
        f"resp_{number}", {f"item_{item}": _audio(item, count) for item, count in cells.items()}
    )
    at = 0.0
    for event in events if is_complete else events[:-1]:
        if event["type"] == "response.output_audio.delta" and not at:
            at = time.monotonic()
        await session.send(event)
    return at


async def _cancelled(session: BenchSession, number: int, item: int) -> None:
    """What the service does by itself when the caller speaks; one delta was under way."""
    response = {"id": f"resp_{number}", "object": "realtime.response", "output": []}
    details = {"type": "cancelled", "reason": "turn_detected"}
    late = response_of(f"resp_{number}", {f"item_{item}": _audio(item, LONG_CELLS)})
    await session.send(next(each for each in late if each["type"] == "response.output_audio.delta"))
    await session.send(
        {"type": "response.done", "response": response | {"status": "cancelled", "status_details": details}}
    )


async def _heard(session: BenchSession, number: int) -> None:
    """The end of the caller's turn, which nobody answers."""
    item: Event = {"item_id": f"user_{number}"}
    await session.send({"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 0, **item})
    await session.send({"type": "input_audio_buffer.committed", "previous_item_id": None, **item})


def _audio(item: int, cells: int) -> str:
    sound = encode_item(item, -(-cells // 10))[: cells * CELL_BYTES]
    return pybase64.b64encode(sound).decode()


def judge(
    interruptions: Iterable[Interruption], packets: Sequence[Heard], truncated: Mapping[int, Sequence[int]]
) -> Judged:
    """``truncated``: coded item → ``audio_end_ms`` of each truncation. No I/O, no clock."""
    heard: dict[int, set[tuple[int, int]]] = defaultdict(set)
    last: dict[int, float] = {}
    for packet in packets:
        for cell in find_cells(packet.payload):
            heard[cell.item].add((cell.frame, cell.index))
            last[cell.item] = packet.at
    found = Judged()
    for each in interruptions:
        found.stop.append(max(0.0, max(last.get(item, 0.0) for item in each.cells) - each.at))
        for item, length in each.cells.items():
            claims = truncated.get(item, ())
            is_cut = len(heard[item]) < length
            found.missing += is_cut and not claims
            found.unwanted += max(0, len(claims) - is_cut)
            if is_cut and claims:
                found.errors_ms.append(abs(claims[0] - CELL_MS * len(heard[item])))
    return found


def document(
    done: Sequence[Interruption], recording: Recording, call: BenchCall, session: BenchSession
) -> dict[str, Any]:
    """What was measured. BenchFailed if too little of it came."""
    packets = call.heard()
    truncated: dict[int, list[int]] = defaultdict(list)
    for _, event in session.controls:
        if event["type"] == "conversation.item.truncate":
            truncated[int(event["item_id"].removeprefix("item_"))].append(event["audio_end_ms"])
    judged = judge(done, packets, truncated)
    up = uplink(recording.frames, session.appended(), item=CALLER_ITEM)
    down = downlink(recording.items, packets)
    for name, count, lost in (
        ("uplink", len(up.seconds), up.lost),
        ("downlink", len(down.seconds), down.lost),
        ("truncations", len(judged.errors_ms), judged.missing),
    ):
        if not count or lost > MAX_LOST * (count + lost):
            raise BenchFailed(f"{name}: {lost} of {count + lost} never came out of the agent")
    return {
        "stop_ms": spread(judged.stop),
        "truncate_error_ms": {
            "p50": round(percentile(judged.errors_ms, 50), 2),
            "max": round(max(judged.errors_ms), 2),
        },
        "uplink_ms": spread(up.seconds),
        "downlink_ms": spread(down.seconds),
        "interruptions": len(done),
        "two_items": sum(len(each.cells) > 1 for each in done),
        "truncations": {
            "right": len(judged.errors_ms), "missing": judged.missing, "unwanted": judged.unwanted,
        },
        "lost": {"uplink": up.lost, "downlink": down.lost},
        "targets": TARGETS,
    }  # fmt: skip
