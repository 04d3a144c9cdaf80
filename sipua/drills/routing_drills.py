"""Drills of what an INVITE meets: who moves on, who must not, how long that takes and what the second call does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sipua.drills.canary import Canary
from sipua.drills.carriers import Carrier
from sipua.drills.ground import FIRST_RESPONSE_S, HOLD_DOWN_S, PROGRESS_S, Ground
from sipua.drills.scenario import Scenario
from sipua.drills.script import (
    BLACK_HOLE,
    WELL,
    Challenge,
    Script,
    Step,
    refuses,
    rings_for,
    trying_only,
    wakes_up,
)

DOMAIN = "carrier.drill.invalid"
PJSIP_TRIES = 4  # without credentials, then one for each of PJSIP_MAX_STALE_COUNT (3) fresh nonces
FINAL_MS = 500  # until a final response has ended the call
SLACK_MS = 300  # what a decision may take beyond the time-out that it waits for


@dataclass(frozen=True, slots=True)
class FailsOver:
    """The primary becomes ``script``; the secondary carries the call within ``waits_s`` and ALLOWANCE_S.

    ``straight_after``: so many calls meet the fault, the next one goes straight to the secondary.
    """

    script: Script
    reason: str
    waits_s: float = 0.0
    straight_after: int = 1
    primary_lines: str = ""

    async def __call__(self, ground: Ground) -> None:
        primary = await ground.carrier("primary")
        await ground.carrier("secondary")
        await ground.open({"primary": self.primary_lines, "secondary": ""})
        await fails_over(ground, self, primary)


async def fails_over(ground: Ground, how: FailsOver, primary: Carrier) -> None:
    """A call that works, the break, the calls that meet it, one that does not, mending, recovery."""
    await works(ground)
    if ground.breaks(f"the primary: {how.reason}"):
        primary.becomes(how.script)
    before = primary.responder.count("INVITE")
    first = await ground.call()
    carried_by_secondary(ground, first, how.reason, ground.bound_ms(how.waits_s))
    if how.script.hears:
        invites = primary.responder.count("INVITE") - before
        ground.expect("one INVITE at the primary", invites == 1, f"{invites} INVITE there")
    for _ in range(how.straight_after - 1):
        await ground.call()
    goes_straight(ground, await ground.call())
    ground.mends("the primary is well")
    primary.becomes(WELL)
    await ground.recovers("primary")


async def works(ground: Ground) -> None:
    """The call before the break, for comparison; the one before that warms the process up."""
    await ground.call()
    canary = await ground.call()
    ground.expect("before the break the primary carries the call", canary.trunk == "primary", canary.story)


def carried_by_secondary(ground: Ground, canary: Canary, reason: str, bound_ms: int) -> None:
    """The call met the fault and is up on the secondary in time."""
    ground.detected(canary)
    met = [each.reason for each in canary.attempts if each.trunk == "primary"]
    ground.expect(f"the primary's fault is seen as {reason}", met == [reason], canary.story)
    on_time = canary.is_up and canary.trunk == "secondary" and canary.setup_ms <= bound_ms
    ground.expect(f"the call is up on the secondary within {bound_ms} ms", on_time, canary.story)


def goes_straight(ground: Ground, canary: Canary) -> None:
    """Nothing is tried that is known to be broken."""
    straight = canary.is_up and [each.trunk for each in canary.attempts] == ["secondary"]
    ground.expect("the next call goes straight to the secondary", straight, canary.story)


# ---- variants of it ------------------------------------------------------------------------------------------


async def refused(ground: Ground) -> None:
    """The primary's port is closed."""
    primary = await ground.carrier("primary")
    await ground.carrier("secondary")
    await ground.open()
    await works(ground)
    if ground.breaks("the primary's port is closed"):
        await primary.vanish()
    first = await ground.call()
    # a datagram socket that is not connected is told nothing of the ICMP answer: the time-out decides
    carried_by_secondary(ground, first, "no_response", ground.bound_ms(FIRST_RESPONSE_S))
    goes_straight(ground, await ground.call())
    ground.mends("the port is open again")
    await primary.appear()
    await ground.recovers("primary")


async def first_address_dead(ground: Ground) -> None:
    """Two addresses of one name; the one that is first in the answer is dead."""
    dead = await ground.carrier("dead")
    live = await ground.carrier("live")
    await live.vanish()
    live.port = dead.port
    await live.appear()
    hosts = f'"{dead.host}", "{live.host}"'
    lines = f'domain = "{DOMAIN}:{dead.port}"\n[static_hosts]\n"{DOMAIN}" = [{hosts}]\n'
    await ground.open({"primary": lines})
    await _first_of_two(ground, dead, live, "address")


async def first_srv_target_dead(ground: Ground) -> None:
    """Two SRV targets of one domain; the one of the better priority is dead."""
    dead = await ground.carrier("dead")
    live = await ground.carrier("live")
    records = [f"10 1 {dead.port} dead.{DOMAIN}.", f"20 1 {live.port} live.{DOMAIN}."]
    await ground.name_server(
        {
            (f"_sip._udp.{DOMAIN}", "SRV"): records,
            (f"dead.{DOMAIN}", "A"): [dead.host],
            (f"live.{DOMAIN}", "A"): [live.host],
        }
    )
    await ground.open({"primary": f'domain = "{DOMAIN}"'})
    await _first_of_two(ground, dead, live, "SRV target")


async def _first_of_two(ground: Ground, dead: Carrier, live: Carrier, what: str) -> None:
    """Both are targets of one trunk."""
    await ground.call()
    before = await ground.call()
    on_first = _hosts(before) == [dead.host]
    ground.expect(f"before the break the first {what} carries the call", on_first, before.story)
    if ground.breaks(f"the first {what} is dead"):
        dead.becomes(BLACK_HOLE)
    first = await ground.call()
    ground.detected(first)
    bound_ms = ground.bound_ms(FIRST_RESPONSE_S)
    up = first.is_up and _hosts(first) == [dead.host, live.host] and first.setup_ms <= bound_ms
    ground.expect(f"the call is up on the second {what} within {bound_ms} ms", up, first.story)
    second = await ground.call()
    straight = second.is_up and _hosts(second) == [live.host]
    ground.expect(f"the next call goes straight to the second {what}", straight, second.story)


def _hosts(canary: Canary) -> list[str]:
    """Where its INVITEs went."""
    return [each.target.partition(":")[0] for each in canary.attempts]


async def late_answer(ground: Ground, script: Script, reason: str, waits_s: float) -> None:
    """The primary answers the call that we have given up and carried elsewhere."""
    primary = await ground.carrier("primary")
    await ground.carrier("secondary")
    await ground.open()
    await works(ground)
    if ground.breaks("the primary answers too late"):
        primary.becomes(script)
    answered = primary.responder.count("INVITE", 200)
    acks, byes = primary.responder.count("ACK"), primary.responder.count("BYE")
    first = await ground.call(stays=True)
    carried_by_secondary(ground, first, reason, ground.bound_ms(waits_s))
    seen = primary.responder
    late = await ground.until(lambda: seen.count("INVITE", 200) > answered, "the late 200", 4.0)
    if late:
        ground.mark("the primary's late 200", "bad", lane="primary")
    ended = await ground.until(lambda: seen.count("BYE") > byes, "BYE of the late answer", 4.0)
    if ended:
        ground.mark("ACK and BYE at the primary", "good", lane="primary")
    found = f"{seen.count('ACK') - acks} ACK and {seen.count('BYE') - byes} BYE there"
    ground.expect("the late answer gets ACK and BYE", late and ended and seen.count("ACK") > acks, found)
    alone = (
        first.is_up and not first.ended.is_set() and len([a for a in first.attempts if a.code == 200]) == 1
    )
    ground.expect("one leg alone is answered, and it stays up", alone, first.story)
    await first.hang_up()


# ---- what must not move on -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CalleeDecides:
    """The primary passes on what the callee says: final, and nobody else is asked."""

    script: Script
    reason: str
    invites: int = 1

    async def __call__(self, ground: Ground) -> None:
        primary = await ground.carrier("primary")
        secondary = await ground.carrier("secondary")
        await ground.open()
        await works(ground)
        if ground.breaks(f"the callee: {self.reason}"):
            script = self.script
            primary.becomes(_to_itself(script, primary))
        rang, others = primary.responder.count("INVITE"), secondary.responder.count("INVITE")
        canary = await ground.call(expects_answer=False)
        ground.detected(canary)
        ends = canary.answered_at is None and canary.setup_ms <= FINAL_MS
        ground.expect(
            f"the call ends as {self.reason} within {FINAL_MS} ms",
            ends and canary.reason == self.reason,
            f"{canary.story}, ended as {canary.reason}",
        )
        invites = primary.responder.count("INVITE") - rang
        ground.expect(
            f"the callee is called {'once' if self.invites == 1 else f'{self.invites} times at most'}",
            0 < invites <= self.invites, f"{invites} INVITE at the primary",
        )  # fmt: skip
        asked = secondary.responder.count("INVITE") - others
        ground.expect("nobody else is asked", asked == 0, f"{asked} INVITE at the secondary")
        primary.becomes(WELL)
        after = await ground.call()
        ground.expect("the primary is not blamed", after.trunk == "primary", after.story)


def _to_itself(script: Script, carrier: Carrier) -> Script:
    """A redirect without a Contact leads to the carrier that sent it."""
    steps = tuple(
        Step(each.code, each.after_s, (("Contact", f"<sip:+12025550123@{carrier.place}>"),))
        if each.code == 302
        else each
        for each in script.invite
    )
    return Script(invite=steps)


async def slow_ringing(ground: Ground) -> None:
    """Ringing is progress: neither first response nor progress may end it."""
    primary = await ground.carrier("primary")
    secondary = await ground.carrier("secondary")
    await ground.open()
    await works(ground)
    rings_s = PROGRESS_S + 0.8
    if ground.breaks(f"the callee lets it ring for {rings_s:g} s"):
        primary.becomes(rings_for(rings_s))
    others = secondary.responder.count("INVITE")
    canary = await ground.call()
    ground.expect(
        f"the primary's callee answers after {rings_s:g} s of ringing",
        canary.is_up and canary.trunk == "primary" and canary.setup_ms >= rings_s * 1000,
        canary.story,
    )
    asked = secondary.responder.count("INVITE") - others
    ground.expect("nobody else is asked", asked == 0, f"{asked} INVITE at the secondary")
    primary.becomes(Script(invite=(Step(180),)))
    endless = await ground.call(expects_answer=False, ring_timeout_s=0.7)
    ends = endless.answered_at is None and endless.reason == "no_answer"
    ground.expect("endless ringing ends as no_answer", ends, f"{endless.story}, ended as {endless.reason}")
    cancelled = await ground.until(
        lambda: primary.responder.count("CANCEL") == 1, "CANCEL at the primary", 2.0
    )
    ground.expect(
        "the callee's telephone stops ringing", cancelled, f"{primary.responder.count('CANCEL')} CANCEL"
    )


async def all_down(ground: Ground) -> None:
    """No way is left: the call ends at once and says why."""
    primary = await ground.carrier("primary")
    secondary = await ground.carrier("secondary")
    await ground.open()
    await works(ground)
    if ground.breaks("the primary is a black hole, the secondary answers 503"):
        primary.becomes(BLACK_HOLE)
        secondary.becomes(refuses(503, ("Retry-After", "30")))
    first = await ground.call(expects_answer=False)
    ground.detected(first)
    bound_ms = ground.bound_ms(FIRST_RESPONSE_S)
    reasons = [each.reason for each in first.attempts]
    ground.expect(
        f"within {bound_ms} ms the call has tried both and ended as all_targets_failed",
        first.reason == "all_targets_failed"
        and reasons == ["no_response", "service_unavailable"]
        and first.setup_ms <= bound_ms,
        f"{first.story}, ended as {first.reason}",
    )
    second = await ground.call(expects_answer=False)
    at_once = second.reason == "no_route" and not second.attempts and second.setup_ms <= SLACK_MS
    ground.expect(
        "the next call ends at once as no_route", at_once, f"{second.story}, ended as {second.reason}"
    )
    ground.mends("the primary is well")
    primary.becomes(WELL)
    await asyncio.sleep(HOLD_DOWN_S)  # calls before that would be lost by right: nothing may be tried
    await ground.recovers("primary")


async def wrong_password(ground: Ground) -> None:
    """Our password at the primary is not the one that it knows."""
    (ground.folder / "password").write_text("right")
    lines = f'auth_user = "drill"\npassword_file = "{ground.folder}/password"\n'
    known = Challenge("drill", "right")
    primary = await ground.carrier("primary", Script(invite_challenge=known))
    await ground.carrier("secondary")
    await ground.open({"primary": lines, "secondary": ""})
    await works(ground)
    if ground.breaks("the primary knows another password"):
        primary.becomes(Script(invite_challenge=Challenge("drill", "another")))
    before = primary.responder.count("INVITE")
    first = await ground.call()
    carried_by_secondary(ground, first, "credentials_refused", ground.bound_ms(0.0))
    tried = primary.responder.count("INVITE") - before
    ground.expect(
        f"{PJSIP_TRIES} INVITEs at most at the primary, no loop",
        2 <= tried <= PJSIP_TRIES,
        f"{tried} INVITE there",
    )
    goes_straight(ground, await ground.call())
    ground.mends("the password is right again")
    primary.becomes(Script(invite_challenge=known))
    await ground.recovers("primary")


async def stale_nonce(ground: Ground) -> None:
    """The nonce has expired when our answer comes: challenged anew, which is no refusal."""
    (ground.folder / "password").write_text("right")
    lines = f'auth_user = "drill"\npassword_file = "{ground.folder}/password"\n'
    primary = await ground.carrier("primary", Script(invite_challenge=Challenge("drill", "right")))
    await ground.carrier("secondary")
    await ground.open({"primary": lines, "secondary": ""})
    await works(ground)
    if ground.breaks("every first nonce is stale when it is used"):
        primary.becomes(Script(invite_challenge=Challenge("drill", "right", stale_first=True)))
    challenged = primary.responder.count("INVITE", 401)
    canary = await ground.call()
    ground.expect("the primary carries the call", canary.is_up and canary.trunk == "primary", canary.story)
    again = primary.responder.count("INVITE", 401) - challenged
    ground.expect("both challenges are answered", again == 2, f"{again} challenges")


ROUTING_DRILLS = (
    Scenario(
        "refused", "the primary's port is closed (ICMP port unreachable)",
        "up on the secondary when the first response is overdue; the next call goes straight there",
        refused, expects_failover=True,
    ),
    Scenario(
        "black-hole", "the primary takes everything and says nothing",
        "up on the secondary when the first response is overdue; the next call goes straight there",
        FailsOver(BLACK_HOLE, "no_response", FIRST_RESPONSE_S), expects_failover=True,
    ),
    Scenario(
        "503", "the primary answers 503",
        "up on the secondary at once; after two such calls the breaker is open",
        FailsOver(refuses(503), "service_unavailable", straight_after=2), expects_failover=True,
    ),
    Scenario(
        "503-retry-after", "the primary answers 503 with Retry-After: 2",
        "up on the secondary at once; the primary is left alone as it asked",
        FailsOver(refuses(503, ("Retry-After", "2")), "service_unavailable"), expects_failover=True,
    ),
    Scenario(
        "100-then-silence", "the primary says 100 and nothing more",
        "up on the secondary when progress is overdue, the primary's leg is cancelled",
        FailsOver(trying_only(), "no_progress", PROGRESS_S, straight_after=2), expects_failover=True,
    ),
    Scenario(
        "slow-180", "the callee rings for longer than any first response or progress may take",
        "no fail-over: the callee answers; endless ringing ends by its own time-out",
        slow_ringing,
    ),
    Scenario(
        "busy", "the callee is busy (486)", "the call ends as busy; the callee's telephone rang once",
        CalleeDecides(Script(invite=(Step(100), Step(180), Step(486, 0.1))), "busy"), forbids_retry=True,
    ),
    Scenario(
        "603", "the callee declines (603)", "the call ends as declined; nobody else is asked",
        CalleeDecides(refuses(603), "declined"), forbids_retry=True,
    ),
    Scenario(
        "603-suspended", "the trunk is suspended (603 with X-Twilio-Error)",
        "up on the secondary at once; the whole trunk is left alone",
        FailsOver(
            refuses(603, ("X-Twilio-Error", "32009")), "trunk_suspended",
            primary_lines='fatal_match = [{ code = 603, header = "X-Twilio-Error" }]',
        ),
        expects_failover=True,
    ),
    Scenario(
        "wrong-password", "the primary refuses our password again and again (401)",
        "a few INVITEs, no loop, then up on the secondary; the next call goes straight there",
        wrong_password, expects_failover=True,
    ),
    Scenario(
        "stale-nonce", "the primary's nonce is stale when our INVITE uses it",
        "the call is challenged anew and stays with the primary", stale_nonce,
    ),
    Scenario(
        "first-address-dead", "the first of two addresses of the trunk's name is dead",
        "up on the second address when the first response is overdue; the next call goes straight there",
        first_address_dead, expects_failover=True,
    ),
    Scenario(
        "first-srv-dead", "the first SRV target of the trunk's domain is dead",
        "up on the second target when the first response is overdue; the next call goes straight there",
        first_srv_target_dead, expects_failover=True,
    ),
    Scenario(
        "late-200", "the primary answers 200 to a call that was cancelled",
        "the late answer gets ACK and BYE; the call on the secondary stays up",
        lambda ground: late_answer(ground, trying_only(late_answer_s=0.2), "no_progress", PROGRESS_S),
        expects_failover=True,
    ),
    Scenario(
        "wakes-up", "the primary is silent and answers 200 when the call is up elsewhere",
        "the late answer gets ACK and BYE; the call on the secondary stays up",
        lambda ground: late_answer(ground, wakes_up(FIRST_RESPONSE_S + 0.4), "no_response", FIRST_RESPONSE_S),
        expects_failover=True,
    ),
    Scenario(
        "all-down", "no trunk works", "the call ends at once with a named reason", all_down,
    ),
    Scenario(
        "3xx-loop", "the primary redirects every call to itself",
        "two redirects are followed at most, then the call ends as redirect_loop",
        CalleeDecides(Script(invite=(Step(302),)), "redirect_loop", invites=3), forbids_retry=True,
    ),
)  # fmt: skip
