"""Drills of TLS to a carrier: a handshake that fails, a certificate that is expired or another host's."""

from __future__ import annotations

from collections.abc import Callable

from sipua.drills.certificates import Authority, CertificateFiles
from sipua.drills.ground import FIRST_RESPONSE_S, Ground
from sipua.drills.routing_drills import carried_by_secondary, goes_straight, works
from sipua.drills.scenario import Scenario

NAME = "carrier.drill.invalid"
Broken = Callable[[Authority], CertificateFiles | None]


async def _tls(ground: Ground, what: str, broken: Broken, seen_as: str) -> None:
    """The primary's certificate is good, then it is not; verification is never left out."""
    authority = Authority(ground.folder)
    good = authority.issue(NAME)
    primary = await ground.carrier("primary", transport="tls", certificate=good, domain=NAME)
    await ground.carrier("secondary")
    lines = (
        f'domain = "{NAME}:{primary.port}"\ntransport = "tls"\ntls_ca = "{authority.file}"\n'
        f'[static_hosts]\n"{NAME}" = ["{primary.host}"]\n'
    )
    await ground.open({"primary": lines, "secondary": ""})
    await works(ground)
    if ground.breaks(what):
        await primary.presents(broken(authority))
        await ground.notices_lost_connections()
    invites = primary.responder.count("INVITE")
    first = await ground.call()
    carried_by_secondary(ground, first, seen_as, ground.bound_ms(FIRST_RESPONSE_S))
    told = primary.responder.count("INVITE") - invites
    ground.expect("nothing is told to a carrier that cannot prove itself", told == 0, f"{told} INVITE there")
    goes_straight(ground, await ground.call())
    ground.mends("the certificate is good again")
    await primary.presents(good)
    await ground.recovers("primary")


def _scenario(name: str, breaks: str, broken: Broken, seen_as: str = "transport_error") -> Scenario:
    async def perform(ground: Ground) -> None:
        await _tls(ground, breaks, broken, seen_as)

    expected = "not a word is said to it; up on the secondary at once; the next call goes straight there"
    return Scenario(name, breaks, expected, perform, expects_failover=True)


TLS_DRILLS = (
    _scenario("tls-handshake", "the primary answers TLS with what is none", lambda authority: None),
    _scenario(
        "tls-expired",
        "the primary's certificate has expired",
        lambda authority: authority.issue(NAME, is_expired=True),
        "tls_error",
    ),
    _scenario(
        "tls-other-host",
        "the primary's certificate is another host's",
        lambda authority: authority.issue("other.drill.invalid"),
        "tls_error",
    ),
)
