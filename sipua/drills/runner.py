"""Drills in processes of their own, some at a time, and what they found out together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from sipua.children import Child
from sipua.drills.findings import Result, result_of
from sipua.drills.mutations import Mutation
from sipua.drills.scenario import Scenario
from sipua.errors import Stopped

AT_ONCE = 2  # drills wait most of their time; more of them on two cores spoil each other's figures
GRACE_S = 20.0  # beyond a drill's own limit: starting Python, ending children


@dataclass(frozen=True, slots=True)
class Plan:
    """How drills are performed. ``more`` are further arguments of each process (those of --live)."""

    folder: Path
    environment: Mapping[str, str]
    mutation: Mutation = Mutation.NONE
    within_s: float | None = None
    more: Sequence[str] = ()
    at_once: int = AT_ONCE


Show = Callable[[Result], None]


async def run_drills(
    scenarios: Sequence[Scenario], plan: Plan, stop: asyncio.Event, show: Show
) -> list[Result]:
    """All of them, in the order asked for; ``show`` gets each when it is over. Raises Stopped."""
    slots = asyncio.Semaphore(plan.at_once)

    async def one(scenario: Scenario) -> Result:
        async with slots:
            result = await _in_a_child(scenario, plan)
        show(result)
        return result

    work = [asyncio.ensure_future(one(each)) for each in scenarios]
    stopping = asyncio.ensure_future(stop.wait())
    try:
        pending = {*work, stopping}
        while not all(each.done() for each in work):
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if stopping in done:
                raise Stopped("stopped")
        return [each.result() for each in work]
    finally:
        for each in (*work, stopping):
            each.cancel()
        await asyncio.gather(*work, stopping, return_exceptions=True)


async def _in_a_child(scenario: Scenario, plan: Plan) -> Result:
    mutation = plan.mutation
    folder = plan.folder / scenario.name
    arguments = ["drill", "one", scenario.name, "--folder", str(folder), *plan.more]
    arguments += ["--mutate", mutation.value] if mutation else []
    arguments += [] if plan.within_s is None else ["--within", str(plan.within_s)]
    begun, started_at = time.monotonic(), datetime.now(UTC).isoformat()
    child = await Child.start(
        scenario.name, arguments, env=plan.environment, log=folder / "drill.log", wait=False
    )
    try:
        output = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(scenario.limit_s + GRACE_S):
                output = await child.output()
    finally:
        await child.end()
    try:
        document: dict[str, Any] = orjson.loads(output)
        return result_of(document)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        took_ms = round((time.monotonic() - begun) * 1000)
        last_word = child.last_words().splitlines()[-1]
        words = f"its process gave no result within {took_ms} ms: {last_word}"
        known = {"what_happened": words, "started_at": started_at, "duration_ms": took_ms}
        return _without(scenario, mutation, **known)


def _without(scenario: Scenario, mutation: Mutation, **known: Any) -> Result:
    """The result of a drill that found nothing out."""
    return Result(
        name=scenario.name,
        held=False,
        breaks=scenario.breaks,
        expected=scenario.expected,
        expects_failover=scenario.expects_failover,
        mutation=mutation.value,
        **known,
    )
