"""Drills of a trunk that registers: what its registrar does, and what calls make of it meanwhile.

The carrier of the calls stays well. A REGISTER that meets what was broken is provoked by the word that our own address
has changed: the refresh would be due only when three quarters of the binding have passed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sipua.drills.carriers import Carrier
from sipua.drills.chronicle import Step as StepTaken
from sipua.drills.ground import RECOVERY_LIMIT_S, Ground
from sipua.drills.routing_drills import goes_straight, works
from sipua.drills.scenario import Scenario
from sipua.drills.script import BLACK_HOLE, Challenge, Script, Step
from sipua.trunks.registration import Phase

GRANTED_S = 6
RETRY_S = 0.5  # the longest first wait after a failure
ASKED_S = 60
RIGHT = Challenge("drill", "right")
WELL = Script(register_challenge=RIGHT, grants_s=GRANTED_S)
LATE_S = 1.0  # beyond the binding's end, until the trunk is left
REFRESHES = 2


def answers(code: int, *headers: tuple[str, str]) -> Script:
    """A registrar that says this to every REGISTER."""
    return Script(register=((Step(code, headers=headers),),))


async def _registered(ground: Ground) -> Carrier:
    """The primary registers, the secondary is a static trunk; the registrar."""
    (ground.folder / "password").write_text("right")
    registrar = await ground.carrier("registrar", WELL)
    primary = await ground.carrier("primary")
    secondary = await ground.carrier("secondary")
    lines = (
        f'kind = "register"\nregistrar_uri = "sip:{registrar.place}"\nauth_user = "drill"\nreg_expires_s = {ASKED_S}\n'
        f'password_file = "{ground.folder}/password"\nreg_retry_first_s = {RETRY_S}\nreg_retry_cap_s = {2 * RETRY_S}\n'
        f'domain = "{primary.place}"'
    )
    await ground.open({"primary": lines, "secondary": f'domain = "{secondary.place}"'})
    await ground.until(lambda: _steps(ground, Phase.REGISTERED), "the first registration", 3.0)
    await works(ground)
    return registrar


def _provoke(ground: Ground) -> None:
    """A REGISTER, now."""
    assert ground.fleet is not None
    ground.fleet.own_address_changed()


def _steps(ground: Ground, phase: Phase, since: float = 0.0) -> list[StepTaken]:
    steps = ground.chronicle.of("primary", "registration", since=since)
    return [each for each in steps if each.after == phase.value]


def _more_than(ground: Ground, since: float, count: int) -> Callable[[], bool]:
    return lambda: len(_steps(ground, Phase.REGISTERED, since)) > count


def _lost(ground: Ground) -> list[StepTaken]:
    """Steps after the break from which on the trunk was not registered any more."""
    steps = ground.chronicle.of("primary", "registration", since=ground.broken_at or 0.0)
    return [each for each in steps if not each.is_well]


@dataclass(frozen=True, slots=True)
class RegistrarFails:
    """The registrar becomes ``script``: calls leave the trunk when its binding has ended at the latest."""

    what: str
    script: Script
    alarm: str = ""
    heals: bool = True

    async def __call__(self, ground: Ground) -> None:
        registrar = await _registered(ground)
        if ground.breaks(self.what):
            registrar.becomes(self.script)
        _provoke(ground)
        since = ground.broken_at or 0.0
        bound_s = GRANTED_S + LATE_S
        gone = await ground.until(lambda: _lost(ground), "the trunk is not registered", bound_s + 1.0)
        if gone:
            ground.detect_ms = round((_lost(ground)[0].at - since) * 1000)
        in_time = gone and ground.detect_ms is not None and ground.detect_ms <= bound_s * 1000
        found = f"left after {ground.detect_ms} ms: {_lost(ground)[0].why}" if gone else "still registered"
        ground.expect(f"the trunk is left within {bound_s:g} s", in_time, found)
        goes_straight(ground, await ground.call())
        if self.alarm:
            told = [reason for _, reason in ground.chronicle.alarms]
            ground.expect(f"an operator is told once: {self.alarm}", told == [self.alarm], f"alarms: {told}")
        if not self.heals:
            return
        ground.mends("the registrar is well")
        registrar.becomes(WELL)
        await _recovers(ground)


async def _recovers(ground: Ground) -> None:
    """It registers again by itself, and calls follow."""
    since = ground.mended_at or 0.0
    back = await ground.until(
        lambda: _steps(ground, Phase.REGISTERED, since), "registered again", RECOVERY_LIMIT_S
    )
    if back:
        ground.recover_ms = round((_steps(ground, Phase.REGISTERED, since)[0].at - since) * 1000)
    found = f"registered after {ground.recover_ms} ms" if back else f"not within {RECOVERY_LIMIT_S:g} s"
    ground.expect("it registers again by itself", back, found)
    canary = await ground.call()
    ground.expect("the primary carries calls again", canary.trunk == "primary", canary.story)


async def interval_too_brief(ground: Ground) -> None:
    """423 is obeyed with the registrar's Min-Expires, and nobody notices."""
    registrar = await _registered(ground)
    least_s = 2 * ASKED_S
    if ground.breaks(f"the registrar wants {least_s} s at least (423)"):
        registrar.becomes(Script(register_challenge=RIGHT, grants_s=GRANTED_S, min_expires_s=least_s))
    _provoke(ground)
    since = ground.broken_at or 0.0
    seen = registrar.responder
    await ground.until(lambda: _steps(ground, Phase.REGISTERED, since), "a refresh", GRANTED_S + 1.0)
    refused = seen.count("REGISTER", 423)
    ground.expect("one REGISTER is answered 423", refused == 1, f"{refused} answered 423")
    asked = [each.header("expires") for each in seen.requests("REGISTER")][-1]
    ground.expect(f"the next REGISTER asks for {least_s} s", asked == str(least_s), f"it asks for {asked} s")
    await _never_lost(ground)


async def stale_nonce(ground: Ground) -> None:
    """Each refresh is challenged once more, with ``stale=true``, and answered at once."""
    registrar = await _registered(ground)
    stale = Challenge("drill", "right", stale_first=True)
    if ground.breaks("the registrar's nonces are stale when they are used"):
        registrar.becomes(Script(register_challenge=stale, grants_s=GRANTED_S))
    since = ground.broken_at or 0.0
    seen = registrar.responder
    challenged = seen.count("REGISTER", 401)
    for _ in range(REFRESHES):
        before = len(_steps(ground, Phase.REGISTERED, since))
        _provoke(ground)
        await ground.until(_more_than(ground, since, before), "a refresh", 2.0)
    challenges = seen.count("REGISTER", 401) - challenged
    granted = len(_steps(ground, Phase.REGISTERED, since))
    twice = granted >= REFRESHES and challenges >= 2 * granted
    ground.expect(
        "each refresh is challenged twice and granted", twice, f"{challenges} challenges, {granted} refreshes"
    )
    await _never_lost(ground)


async def _never_lost(ground: Ground) -> None:
    lost = _lost(ground)
    words = f"{len(lost)} times not registered" + (f": {lost[0].why}" if lost else "")
    ground.expect("the trunk stays registered", not lost, words)
    canary = await ground.call()
    ground.expect("the primary carries calls", canary.is_up and canary.trunk == "primary", canary.story)


async def retry_after(ground: Ground) -> None:
    """A registrar that is overloaded says when to come back, and is obeyed."""
    wait_s = 2
    registrar = await _registered(ground)
    if ground.breaks(f"the registrar answers 503 with Retry-After: {wait_s}"):
        registrar.becomes(answers(503, ("Retry-After", str(wait_s))))
    seen = registrar.responder
    refused = seen.count("REGISTER", 503)
    asked = [each for each in seen.seen if each.method == "REGISTER" and not each.code]
    _provoke(ground)
    await ground.until(
        lambda: seen.count("REGISTER", 503) >= refused + 2, "the next try", GRANTED_S + wait_s + 2.0
    )
    tries = [each.at for each in seen.seen if each.method == "REGISTER" and not each.code][len(asked) :]
    gap_ms = round((tries[1] - tries[0]) * 1000) if len(tries) > 1 else None
    obeyed = gap_ms is not None and wait_s * 1000 <= gap_ms <= wait_s * 1300
    ground.expect(
        f"it is left alone for {wait_s} s, not for much longer", obeyed, f"next REGISTER after {gap_ms} ms"
    )
    gone = await ground.until(lambda: _lost(ground), "the end of the binding", GRANTED_S + LATE_S)
    if gone:
        ground.detect_ms = round((_lost(ground)[0].at - (ground.broken_at or 0.0)) * 1000)
    goes_straight(ground, await ground.call())
    ground.mends("the registrar is well")
    registrar.becomes(WELL)
    await _recovers(ground)


REGISTRATION_DRILLS = (
    Scenario(
        "registrar-down", "the registrar of the primary is silent",
        "calls go straight to the secondary once the binding has ended; it registers again by itself",
        RegistrarFails("the registrar is silent", BLACK_HOLE), expects_failover=True,
    ),
    Scenario(
        "registrar-403", "the registrar refuses us (403)",
        "the trunk is left at once, an operator is told once",
        RegistrarFails("the registrar answers 403", answers(403), alarm="forbidden", heals=False),
        expects_failover=True,
    ),
    Scenario(
        "registrar-503", "the registrar answers 503 with Retry-After: 2",
        "it is left alone for as long as it asks; calls go straight to the secondary", retry_after,
        expects_failover=True,
    ),
    Scenario(
        "registrar-423", "the registrar finds our interval too brief (423)",
        "its Min-Expires is obeyed at once; the trunk stays registered", interval_too_brief,
    ),
    Scenario(
        "registrar-stale-nonce", "the registrar's nonces are stale when they are used",
        "each refresh is challenged and answered anew; the trunk stays registered", stale_nonce,
    ),
)  # fmt: skip
