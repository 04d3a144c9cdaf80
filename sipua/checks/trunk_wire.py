"""One trunk as the network shows it: its names, the certificates at its addresses, what answers OPTIONS there.

Each check covers all addresses of the trunk: it fails if none is usable and warns if one is not, as calls have others.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sipua.checks.machine import ahead_s
from sipua.checks.report import Check, Status, listed
from sipua.errors import ConfigError
from sipua.probe import Answer, Query, Unanswered, Unsent, options
from sipua.resolve import Place, Resolver, UnresolvedName, parse_place, static_hosts_of
from sipua.settings import Settings
from sipua.sip_message import is_address, parse_uri
from sipua.tls_probe import Handshake, HandshakeFailed, client_context, shake_hands
from sipua.trunk import Trunk
from sipua.trunk_rules import family_of
from sipua.trunks.routing import Address

ADDRESS_LIMIT = 16  # of one trunk; what a name has beyond is not tried
TIMEOUT_LIMIT_S = 5.0  # whatever options_timeout_s says: somebody waits
EXPIRES_SOON_DAYS = 21


@dataclass(frozen=True, slots=True)
class Finding:
    """What one address gave."""

    status: Status
    text: str
    todo: str = ""
    is_configuration: bool = False


@dataclass(frozen=True, slots=True)
class Spot:
    """An address to try, and the name that its certificate must bear."""

    address: Address
    tls_name: str


@dataclass(slots=True)
class Report:
    """The checks of one trunk, and how far our clock is ahead of those that told theirs."""

    checks: list[Check] = field(default_factory=list)
    ahead: dict[str, float] = field(default_factory=dict)


async def examine(
    trunk: Trunk, settings: Settings, *, agent_runs: bool, nameservers: Sequence[tuple[str, int]] = ()
) -> Report:
    """Everything that can be seen from here without placing a call."""
    report = Report()
    spots = await spots_of(trunk, str(settings.sip.bind), report, nameservers)
    if trunk.transport == "tls" and spots:
        try:
            context = client_context(trunk.tls_ca, trunk.tls_min_version)
        except ConfigError as error:
            todo = "name a readable file, or leave tls_ca out to take the system's"
            report.checks.append(Check(f"trunk {trunk.name} tls", "fail", str(error), todo, True))
            return report
        spots = await _secure(trunk, settings, spots, context, report)
        await _ask_options(trunk, settings, spots, context, agent_runs, report)
    else:
        await _ask_options(trunk, settings, spots, None, agent_runs, report)
    return report


def summed(name: str, findings: Sequence[tuple[str, Finding]]) -> Check:
    """One check of several addresses (label and finding): calls go on as long as one is usable."""
    failed = [each for _, each in findings if each.status == "fail"]
    status: Status = "ok"
    if failed:
        status = "fail" if len(failed) == len(findings) else "warn"
    elif any(each.status == "warn" for _, each in findings):
        status = "warn"
    detail = "; ".join(f"{label}: {each.text}" for label, each in findings)
    todo = listed(each.todo for _, each in findings)
    return Check(
        name, status, detail, todo, status == "fail" and all(each.is_configuration for each in failed)
    )


# ---- names -----------------------------------------------------------------------------------------------


def places_of(trunk: Trunk) -> tuple[Place, ...]:
    """What the file names: outbound proxies in place of the domain, and the registrar if there are none."""
    texts = list(trunk.outbound_proxies)
    if not texts and trunk.domain and trunk.direction != "inbound":
        texts.append(trunk.domain)
    if not trunk.outbound_proxies and (uri := parse_uri(trunk.registrar_uri)) is not None:
        texts.append(f"{uri.host}:{uri.port}" if uri.port else uri.host)
    return tuple(parse_place(text, trunk.transport, srv=trunk.srv) for text in dict.fromkeys(texts))


async def spots_of(
    trunk: Trunk, bind: str, report: Report, nameservers: Sequence[tuple[str, int]]
) -> list[Spot]:
    """The addresses of all places; the check of DNS if a name is among them."""
    findings: list[tuple[str, Finding]] = []
    found: dict[str, Spot] = {}
    families = (family_of(trunk, bind),)
    for place in places_of(trunk):
        resolver = Resolver(static_hosts_of(trunk), families=families, nameservers=nameservers)
        try:
            addresses = await resolver.addresses(place)
        except UnresolvedName as error:
            todo = (
                f"correct the name, or ask {trunk.provider} and put its addresses into static_hosts; "
                "where no name resolves, mend /etc/resolv.conf"
            )
            findings.append((place.host, Finding("fail", str(error).removeprefix(f"{place.host}: "), todo)))
            continue
        for each in addresses:
            found.setdefault(each.label, Spot(each, trunk.tls_name or place.host))
        if not is_address(place.host):
            asked = ", ".join(f"{kind} {name}: {count}" for name, kind, count in resolver.asked if count)
            where = ", ".join(each.label for each in addresses)
            findings.append((place.host, Finding("ok", f"{where} ({asked or 'from static_hosts'})")))
    if findings:
        report.checks.append(summed(f"trunk {trunk.name} dns", findings))
    return list(found.values())[:ADDRESS_LIMIT]


# ---- TLS -------------------------------------------------------------------------------------------------


async def _secure(
    trunk: Trunk, settings: Settings, spots: Sequence[Spot], context: ssl.SSLContext, report: Report
) -> list[Spot]:
    """The spots whose certificate holds."""
    local = local_address(trunk, settings)
    found = await asyncio.gather(*(_handshake(trunk, each, context, local) for each in spots))
    labelled = [(spot.address.label, finding) for spot, finding in zip(spots, found, strict=True)]
    report.checks.append(summed(f"trunk {trunk.name} tls", labelled))
    return [spot for spot, finding in zip(spots, found, strict=True) if finding.status != "fail"]


async def _handshake(trunk: Trunk, spot: Spot, context: ssl.SSLContext, local: str) -> Finding:
    address = spot.address
    try:
        seen = await shake_hands(
            address.address, address.port, spot.tls_name, context, local=local, timeout_s=TIMEOUT_LIMIT_S
        )
    except HandshakeFailed as error:
        todo = f"ask {trunk.provider} for the TLS port (5061 is usual) and whether {trunk.tls_min_version} is spoken"
        return Finding("fail", str(error), f"{todo}; check the firewall for TCP to {address.port}")
    return judged(seen, spot.tls_name, trunk.provider, datetime.now(UTC))


def judged(seen: Handshake, name: str, provider: str, now: datetime) -> Finding:
    """What is to be said about a certificate."""
    shown, names = seen.certificate, ", ".join(seen.certificate.names)
    theirs = f"{provider} has to renew it: tell them"
    if shown.ends < now:
        text = f"the certificate for {names} expired on {shown.ends:%Y-%m-%d}"
        return Finding("fail", text, f"{theirs}; until then no call goes there")
    if shown.begins > now:
        text = f"the certificate for {names} is valid from {shown.begins:%Y-%m-%d %H:%M} UTC on"
        return Finding(
            "fail", text, f"check our clock; if it is right, {provider} has put it there too early"
        )
    if "mismatch" in seen.refusal:
        text = f"the certificate is for {names}, not for {name}"
        todo = f"correct the name in the trunk file; if {provider} says that this one is right, set tls_name to it"
        return Finding("fail", text, todo)
    if seen.refusal:
        text = f"the certificate for {names} is not trusted: {seen.refusal} (signed by {shown.issuer})"
        return Finding("fail", text, f"set tls_ca to a file with the CA certificates of {provider}")
    days = (shown.ends - now).days
    text = f"{seen.version}, certificate for {names} until {shown.ends:%Y-%m-%d}, {days} days"
    return Finding("warn", text, theirs) if days < EXPIRES_SOON_DAYS else Finding("ok", text)


# ---- OPTIONS ---------------------------------------------------------------------------------------------


def local_address(trunk: Trunk, settings: Settings) -> str:
    """Where its signalling leaves from; "" where that is for the kernel to say."""
    bound = trunk.bind or str(settings.sip.bind)
    return "" if ipaddress.ip_address(bound).is_unspecified else bound


async def _ask_options(
    trunk: Trunk,
    settings: Settings,
    spots: Sequence[Spot],
    context: ssl.SSLContext | None,
    agent_runs: bool,
    report: Report,
) -> None:
    answers = await asyncio.gather(*(_options(trunk, settings, each, context) for each in spots))
    findings = []
    for spot, answer in zip(spots, answers, strict=True):
        if isinstance(answer, Answer) and answer.date is not None:
            midway = answer.sent_at.timestamp() + answer.latency_s / 2
            report.ahead.setdefault(
                f"trunk {trunk.name}", ahead_s(datetime.fromtimestamp(midway, UTC), answer.date)
            )
        if isinstance(answer, Answer):
            finding = _answered(trunk, answer)
        elif not agent_runs and _is_ours(spot.address, settings):
            finding = Finding("ok", "this is our own port: nothing answers before `sipua serve` runs")
        else:
            finding = _unanswered(trunk, settings, spot, answer)
        findings.append((spot.address.label, finding))
    if findings:
        report.checks.append(summed(f"trunk {trunk.name} options", findings))


def _is_ours(address: Address, settings: Settings) -> bool:
    """Whether ``serve`` itself will listen there (on port 0: it may)."""
    port = settings.sip.tls_port if address.transport == "tls" else settings.sip.port
    return ipaddress.ip_address(address.address).is_loopback and port in (0, address.port)


async def _options(
    trunk: Trunk, settings: Settings, spot: Spot, context: ssl.SSLContext | None
) -> Answer | Unanswered:
    host = trunk.domain or spot.address.host
    query = Query(
        spot.address,
        f"sip:{host}",
        local=local_address(trunk, settings),
        user=trunk.contact_user or settings.sip.contact_user,
        user_agent=trunk.user_agent,
        timeout_s=min(trunk.options_timeout_s, TIMEOUT_LIMIT_S),
    )
    try:
        return await options(query, context, spot.tls_name)
    except Unanswered as error:
        return error


def _answered(trunk: Trunk, answer: Answer) -> Finding:
    text = f"{answer.code} {answer.phrase} in {answer.latency_s * 1000:.3g} ms"
    if answer.code in trunk.options_ok_codes:
        return Finding("ok", text)
    if answer.code == 503:
        return Finding("fail", text, f"it says itself that it is not well: ask {trunk.provider}, or wait")
    if answer.code == 403:
        todo = f"ask {trunk.provider} whether our address {answer.source[0]} is on its list"
        return Finding("fail", text, todo)
    todo = (
        f"if {trunk.provider} says that this is how it answers OPTIONS, add {answer.code} to options_ok_codes"
    )
    return Finding("warn", text, todo)


def _unanswered(trunk: Trunk, settings: Settings, spot: Spot, why: Unanswered) -> Finding:
    if isinstance(why, Unsent):
        key = "bind of the trunk" if trunk.bind else "sip.bind"
        todo = f"set {key} to an address of this machine that leads to {trunk.provider}"
        return Finding("fail", str(why), todo, True)
    ours = local_address(trunk, settings) or "our address"
    if not trunk.options_interval_s:
        todo = f"options_interval_s is 0: {trunk.provider} may not answer OPTIONS at all; place a test call"
        return Finding("warn", str(why), todo)
    port = f"{'UDP' if spot.address.transport == 'udp' else 'TCP'} {spot.address.port}"
    todo = (
        f"check the firewall for {port}, and ask {trunk.provider} whether {ours} is on its list; "
        "if it never answers OPTIONS, set options_interval_s = 0"
    )
    return Finding("fail", str(why), todo)
