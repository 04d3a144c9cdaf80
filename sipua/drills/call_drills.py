"""Drills of a call that is up at a whole agent (`sipua serve`): media, voice service or database are lost."""

from __future__ import annotations

import asyncio
import time

from sipua.drills.canary import Canary
from sipua.drills.carriers import Carrier
from sipua.drills.far_end import RECONNECT_S, RTP_TIMEOUT_S, FarEnd
from sipua.drills.ground import NUMBER, Ground
from sipua.drills.scenario import Scenario
from sipua.drills.script import Script
from sipua.errors import LocalError

SERVICE_LOST_S = RECONNECT_S + 12.0  # what was said already is heard to its end, and an apology; then BYE
TICK_S = 1.5  # the agent looks for silence every second; and some room
DATABASE_AWAY_S = 2.0
BACK_LIMIT_S = 15.0  # the keeper starts the database again, the ledger writes what has waited
LIMIT_S = 75.0
ELSEWHERE = "127.0.0.77"
SETTLED_S = 1.5  # without another REGISTER
MOVED_S = 4.0  # two answers that say so, half a second apart, and some room
REGISTERING = """\
schema = 1
name = "canary"
provider = "loopback"
kind = "register"
registrar_uri = "sip:{place}"
domain = "{place}"
aor_user = "drill"
caller_id = "+12025550100"
public_ip = "auto"
options_interval_s = 0.5
options_timeout_s = 0.4
"""


async def _talking(ground: Ground) -> tuple[FarEnd, Canary]:
    """A canary that is up at the far end and hears it."""
    far_end = FarEnd(ground.folder)
    ground.leaves(far_end.close)
    await far_end.start()
    await ground.open({"primary": f'domain = "{far_end.place}"'})
    canary = await ground.call(stays=True)
    if not ground.expect("the far end answers and is heard", canary.is_up, canary.story):
        raise LocalError("there is no call to be disturbed")
    return far_end, canary


async def _ends(ground: Ground, far_end: FarEnd, canary: Canary, reason: str, seconds: float) -> None:
    """The far end hangs up in order, and says why: in its feed and in its row."""
    assert ground.broken_at is not None
    await ground.until(canary.ended.is_set, "BYE from the far end", seconds + 1.0)
    took_ms = round(((canary.over_at or time.monotonic()) - ground.broken_at) * 1000)
    ended = canary.ended.is_set()
    ground.detect_ms = took_ms if ended else None
    found = f"BYE after {took_ms} ms" if ended else f"still up after {took_ms} ms"
    ground.expect(
        f"the far end sends BYE within {seconds * 1000:g} ms", ended and took_ms <= seconds * 1000, found
    )
    await ground.until(lambda: far_end.endings, "the far end's word on how it ended", 3.0)
    said = far_end.endings[0]["reason"] if far_end.endings else "nothing"
    ground.expect(f"it ends as {reason}", said == reason, f"ended as {said}")
    row = await _closed_row(far_end, 5.0)
    written = row["outcome"] if row is not None else "no closed row"
    ground.expect(f"its row says {reason}", written == reason, f"row: {written}")
    again = await ground.call(expects_answer=reason == "rtp_timeout")
    ground.expect("the agent takes or refuses the next call by itself", far_end.is_running, again.story)


async def _closed_row(far_end: FarEnd, seconds: float) -> dict[str, object] | None:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        row = await far_end.row()
        if row is not None and row["ended_at"] is not None:
            return dict(row)
        await asyncio.sleep(0.1)
    return None


async def media_stops(ground: Ground) -> None:
    far_end, canary = await _talking(ground)
    if ground.breaks("no RTP reaches the agent any more"):
        assert canary.media is not None
        canary.media.close()
    await _ends(ground, far_end, canary, "rtp_timeout", RTP_TIMEOUT_S + TICK_S)


async def voice_service_lost(ground: Ground) -> None:
    far_end, canary = await _talking(ground)
    if ground.breaks("the voice service's process is killed"):
        far_end.lose_the_voice_service()
    await _ends(ground, far_end, canary, "realtime_closed", SERVICE_LOST_S)


async def database_lost(ground: Ground) -> None:
    """The call needs no database: it goes on, ends in order, and its row is written when the database is back."""
    far_end, canary = await _talking(ground)
    heard = canary.heard
    killed = 0
    if ground.breaks(f"the database is killed, again and again for {DATABASE_AWAY_S:g} s"):
        give_up = time.monotonic() + DATABASE_AWAY_S
        while time.monotonic() < give_up:
            killed += far_end.kill_the_database()
            await asyncio.sleep(0.05)
    away = killed > 0 and await far_end.row() is None
    if not ground.expect("the database is away", away, f"killed {killed} times"):
        return
    sounds = canary.heard - heard
    due = int(DATABASE_AWAY_S / 0.02 * 0.9)
    up = not canary.ended.is_set() and sounds >= due
    ground.expect("the call goes on with sound", up, f"{sounds} packets heard in {DATABASE_AWAY_S:g} s")
    await canary.hang_up()
    ground.mends("the database may start again")
    await ground.until(lambda: far_end.endings, "the far end's word on how it ended", 3.0)
    said = far_end.endings[0]["reason"] if far_end.endings else "nothing"
    ground.expect("it ends in order, as caller_hangup", said == "caller_hangup", f"ended as {said}")
    row = await _closed_row(far_end, BACK_LIMIT_S)
    assert ground.mended_at is not None
    if row is not None:
        ground.recover_ms = round((time.monotonic() - ground.mended_at) * 1000)
    written = row["outcome"] if row is not None else "no closed row"
    ground.expect(
        "its row is written when the database is back", written == "caller_hangup", f"row: {written}"
    )
    ground.expect("the agent still runs", far_end.is_running, "running" if far_end.is_running else "it ended")


async def own_address_changes(ground: Ground) -> None:
    """The trunk sees us under another address: it is registered anew, and a call that is up is told."""
    carrier = await ground.carrier("carrier")
    seen = carrier.responder
    far_end = FarEnd(ground.folder)
    ground.leaves(far_end.close)
    await far_end.start(REGISTERING.format(place=carrier.place))
    await ground.until(lambda: _is_settled(carrier), "a registration that stays", 10.0)
    await far_end.dial(NUMBER)
    up = await ground.until(
        lambda: seen.count("INVITE", 200) and seen.count("ACK"), "a call of the agent's", 5.0
    )
    ground.mark("registered, and a call is up", "good", lane="agent")
    ground.expect(
        "the agent registers and calls", up, f"{seen.count('REGISTER', 200)} REGISTER, a call is up"
    )
    if ground.breaks(f"the trunk sees us at {ELSEWHERE}"):
        carrier.becomes(Script(received=ELSEWHERE))
    assert ground.broken_at is not None

    def registers() -> list[str]:
        return [each for each in _contacts(carrier, "REGISTER") if ELSEWHERE in each]

    def offers() -> list[str]:
        return [each.body for each in seen.requests("INVITE")[1:] if f"IN IP4 {ELSEWHERE}" in each.body]

    told = await ground.until(registers, "a REGISTER from the new address", MOVED_S)
    if told:
        ground.detect_ms = round((time.monotonic() - ground.broken_at) * 1000)
        ground.mark(f"REGISTER with Contact {ELSEWHERE}", "good", lane="agent")
    found = f"REGISTER after {ground.detect_ms} ms" if told else "no REGISTER from there"
    ground.expect("it registers the new address", told, found)
    offered = await ground.until(offers, "a re-INVITE with the new address", MOVED_S)
    if offered:
        ground.recover_ms = round((time.monotonic() - ground.broken_at) * 1000)
        ground.mark(f"re-INVITE with RTP at {ELSEWHERE}", "good", lane="agent")
    found = f"re-INVITE after {ground.recover_ms} ms" if offered else "no re-INVITE"
    ground.expect("the call that is up is told where our RTP is now", offered, found)
    lost = seen.count("BYE") or len(far_end.endings)
    ground.expect("the call goes on", not lost, "it is up" if not lost else "it has ended")


def _is_settled(carrier: Carrier) -> bool:
    """The agent learns its address from the first answers, and registers again if it did not know it."""
    granted = [each.at for each in carrier.responder.seen if (each.method, each.code) == ("REGISTER", 200)]
    return bool(granted) and time.monotonic() > granted[-1] + SETTLED_S


def _contacts(carrier: Carrier, method: str) -> list[str]:
    return [each.header("contact") or "" for each in carrier.responder.requests(method)]


CALL_DRILLS = (
    Scenario(
        "media-stops", "the caller's RTP stops during a call",
        "the agent ends the call in order, with the reason rtp_timeout", media_stops, limit_s=LIMIT_S,
    ),
    Scenario(
        "voice-service-lost", "the AI service is lost during a call",
        "no other session is had: an apology, and the call ends as realtime_closed", voice_service_lost,
        limit_s=LIMIT_S,
    ),
    Scenario(
        "database-lost", "the database is lost during a call",
        "the call goes on and ends in order; its row is written when the database is back", database_lost,
        limit_s=LIMIT_S,
    ),
    Scenario(
        "own-address", "our own address changes during a call",
        "the agent registers the new one, and tells it in the call that is up", own_address_changes, limit_s=LIMIT_S,
    ),
)  # fmt: skip
