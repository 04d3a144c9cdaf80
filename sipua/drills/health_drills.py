"""Drills of what is known of a trunk without a call: OPTIONS; and of many calls while a trunk dies."""

from __future__ import annotations

import asyncio
import time

from sipua.drills.canary import Canary
from sipua.drills.carriers import Carrier
from sipua.drills.ground import Ground
from sipua.drills.routing_drills import goes_straight, works
from sipua.drills.scenario import Scenario
from sipua.drills.script import BLACK_HOLE, OK, SILENCE, WELL, Script, Step
from sipua.pj.build import max_calls

INTERVAL_S, TIMEOUT_S, DOWN_AFTER = 0.3, 0.2, 3
PROBED = f"""\
options_interval_s = {INTERVAL_S}
options_timeout_s = {TIMEOUT_S}
down_after = {DOWN_AFTER}
up_after = 2
"""
FLAPS = 8
CALLS = 50
CALLS_AT_ONCE = 10
TALK_S = 0.1
SLOTS_PER_CALL = 3  # one that is abandoned, one that carries the call, one whose BYE nobody answers


async def options_flap(ground: Ground) -> None:
    """One unanswered OPTIONS of two is no reason to leave a trunk, several in a row are."""
    primary = await ground.carrier("primary")
    await ground.carrier("secondary")
    await ground.open({"primary": PROBED, "secondary": ""})
    await works(ground)
    await ground.until(lambda: ground.chronicle.of("primary", "probe"), "the first OPTIONS", 6.0)
    if ground.breaks("every other OPTIONS goes unanswered"):
        primary.becomes(Script(options=(SILENCE, OK)))
    seen = primary.responder
    asked, answered = seen.count("OPTIONS"), seen.count("OPTIONS", 200)
    await ground.until(lambda: seen.count("OPTIONS") >= asked + FLAPS, f"{FLAPS} OPTIONS", 8.0)
    missed = seen.count("OPTIONS") - asked - (seen.count("OPTIONS", 200) - answered)
    ground.expect("OPTIONS go unanswered", missed >= FLAPS // 2 - 1, f"{missed} OPTIONS unanswered")
    downs = [each for each in ground.chronicle.of("primary", "probe") if each.after == "down"]
    flapped = await ground.call()
    kept = not downs and flapped.trunk == "primary"
    ground.expect("a flapping trunk is kept", kept, f"{len(downs)} times down; {flapped.story}")
    await _falls_silent(ground, primary)
    goes_straight(ground, await ground.call())
    ground.mends("OPTIONS are answered again")
    primary.becomes(WELL)
    await ground.recovers("primary")


async def _falls_silent(ground: Ground, primary: Carrier) -> None:
    """No OPTIONS is answered any more; ``detect_ms`` is from there to the trunk's going down."""
    if ground.breaks("no OPTIONS is answered"):
        primary.becomes(Script(options=(SILENCE,)))
    since = time.monotonic()
    bound_s = (DOWN_AFTER + 1) * INTERVAL_S + TIMEOUT_S

    def is_down() -> bool:
        steps = ground.chronicle.of("primary", "probe", since=since)
        return any(each.after == "down" for each in steps)

    down = await ground.until(is_down, "the primary is down", bound_s + 1.5)
    if down:
        ground.detect_ms = round((ground.chronicle.of("primary", "probe", since=since)[0].at - since) * 1000)
    in_time = down and ground.detect_ms is not None and ground.detect_ms <= bound_s * 1000
    found = f"down after {ground.detect_ms} ms" if down else "still up"
    ground.expect(f"{DOWN_AFTER} in a row take it down within {bound_s * 1000:.0f} ms", in_time, found)


async def fifty_calls(ground: Ground) -> None:
    """The primary dies half-way through many calls. None of them rings: ringing is progress, and is waited for."""
    quick = Script(invite=(Step(100), Step(200, 0.05, has_sdp=True)))
    primary = await ground.carrier("primary", quick)
    await ground.carrier("secondary", quick)
    await ground.open({"primary": "hold_down_s = 30", "secondary": ""})  # no trial call in the meantime
    at_once = max(1, min(CALLS_AT_ONCE, max_calls() // SLOTS_PER_CALL))
    ground.mark(f"{CALLS} calls, {at_once} at a time ({max_calls()} slots in this build of pjsua2)")
    slots = asyncio.Semaphore(at_once)

    async def one(number: int) -> Canary:
        async with slots:
            if number == CALLS // 2 and ground.breaks("the primary dies: no answer, no sound"):
                primary.becomes(BLACK_HOLE)
                primary.echo.is_on = False
            canary = await ground.call(stays=True)
            await asyncio.sleep(TALK_S)
            await canary.hang_up()
            return canary

    calls = await asyncio.gather(*(one(number) for number in range(CALLS)))
    broken_at = ground.broken_at or 0.0
    up = [each for each in calls if each.answered_at is not None and each.answered_at < broken_at]
    later = [each for each in calls if each not in up]
    lost = [each for each in later if not each.is_up]
    words = "; ".join(each.story for each in lost[:3])
    ground.expect(
        "no call is lost but those that were up", not lost, f"{len(lost)} of {CALLS} lost {words}".strip()
    )
    moved = [each for each in later if each.trunk == "secondary"]
    found = f"{len(up)} were up or over before, {len(moved)} of {len(later)} carried by the secondary"
    ground.expect("all later ones are carried by the secondary", len(moved) == len(later) > 0, found)
    met = [each for each in later if len(each.attempts) > 1]
    if met:
        ground.detected(met[0])
    found = f"{len(met)} calls tried the primary in vain"
    ground.expect(f"{2 * at_once} calls at most meet the fault", 0 < len(met) <= 2 * at_once, found)


HEALTH_DRILLS = (
    Scenario(
        "options-flap", "the primary answers every other OPTIONS, then none",
        "a flapping trunk is kept, a silent one is left; calls then go straight to the secondary",
        options_flap, expects_failover=True,
    ),
    Scenario(
        "fifty-calls", f"the primary dies half-way through {CALLS} calls",
        "no call is lost but those that were up on the primary", fifty_calls, expects_failover=True, limit_s=60.0,
    ),
)  # fmt: skip
