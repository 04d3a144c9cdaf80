"""What the outcome of an INVITE means: one table by SIP code, one by fault. No I/O; the machine in ``attempt`` obeys.

RFC 3261 section 21 says what the codes mean, 8.1.3.2 that an unknown code is the x00 of its class; who moves on is
our policy. Codes that speak about the callee (busy, unknown number, declined) are never asked again elsewhere: the
callee's telephone would ring once per gateway; nor is a 408 or 480 after it has rung: nobody answered. Codes and
faults that speak about the target or the trunk move on and are counted by its circuit breaker; those about our
account there (401, 403 with credentials, a suspended account) open it for the whole trunk and alert. After early media
or an answer nothing is re-routed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from sipua.sip_message import header_items, parse_uri

RETRY_AFTER_CAP_S = 3600.0
_RETRY_AFTER = re.compile(
    r"\s*([0-9]+)\s*(?:[;(].*)?", re.S
)  # RFC 3261 section 20.33: delta-seconds, comment, params
_Q = re.compile(r";\s*q\s*=\s*(1(?:\.0*)?|0(?:\.[0-9]*)?)\s*(?:;|$)", re.I)


class Verdict(StrEnum):
    """What becomes of the call."""

    ANSWERED = "answered"
    NEXT = "next"  # another target
    NEXT_TRUNK = "next_trunk"  # another trunk: what failed is common to all targets of this one
    REDIRECT = "redirect"  # to ``Decision.contacts``
    CODEC = "codec"  # nothing in common with the callee: final, and a matter of ``codecs``
    FINAL = "final"


class Blame(StrEnum):
    """What the circuit breaker makes of it. Only CLEAR and the worse ones close or open anything."""

    NONE = "none"  # says nothing about the target (the caller gave up)
    CLEAR = "clear"  # the target works
    COUNT = "count"  # one failure of several
    OPEN = "open"  # opens the target's breaker at once
    OPEN_TRUNK = "open_trunk"  # opens the trunk's


class Fault(StrEnum):
    """How an INVITE fails without a final response."""

    TRANSPORT = "transport_error"  # refused, unreachable, connection lost
    DNS = "dns_error"
    REDIRECT = "redirect_refused"  # to where this trunk does not lead, or to a number that it may not dial
    TLS = "tls_error"
    NO_RESPONSE = "no_response"  # nothing at all within first_response_timeout
    NO_PROGRESS = "no_progress"  # 100, then silence


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the policy. ``waits``: a Retry-After is about the target and keeps us away from it. ``unanswered``:
    once the callee has rung, the code says that nobody answered."""

    verdict: Verdict
    reason: str
    blame: Blame = Blame.CLEAR
    alert: bool = False
    waits: bool = False
    unanswered: bool = False


_FINAL = {
    400: "bad_request", 403: "forbidden", 404: "not_found", 410: "gone", 484: "address_incomplete",
    486: "busy", 487: "cancelled", 501: "not_implemented", 505: "version_not_supported", 513: "message_too_large",
    580: "precondition_failure", 600: "busy_everywhere", 603: "declined",
    604: "does_not_exist_anywhere", 607: "unwanted", 608: "rejected",
}  # fmt: skip
CODES: dict[int, Row] = {
    **{code: Row(Verdict.FINAL, reason) for code, reason in _FINAL.items()},
    **{code: Row(Verdict.CODEC, "no_common_codec") for code in (415, 488, 606)},
    300: Row(Verdict.REDIRECT, "redirected"),
    401: Row(Verdict.NEXT_TRUNK, "credentials_refused", Blame.OPEN_TRUNK, alert=True),
    407: Row(Verdict.NEXT_TRUNK, "credentials_refused", Blame.OPEN_TRUNK, alert=True),
    408: Row(Verdict.NEXT, "request_timeout", Blame.COUNT, unanswered=True),
    480: Row(Verdict.FINAL, "temporarily_unavailable", unanswered=True),
    500: Row(Verdict.NEXT, "server_error", Blame.COUNT, waits=True),
    502: Row(Verdict.NEXT, "bad_gateway", Blame.COUNT),
    503: Row(Verdict.NEXT, "service_unavailable", Blame.COUNT, waits=True),
    504: Row(Verdict.NEXT, "server_timeout", Blame.COUNT),
}
FAULTS: dict[Fault, Row] = {
    Fault.TRANSPORT: Row(Verdict.NEXT, Fault.TRANSPORT.value, Blame.OPEN),
    Fault.DNS: Row(Verdict.NEXT, Fault.DNS.value, Blame.OPEN),
    Fault.REDIRECT: Row(Verdict.NEXT, Fault.REDIRECT.value, Blame.NONE),
    Fault.TLS: Row(Verdict.NEXT, Fault.TLS.value, Blame.OPEN, alert=True),
    Fault.NO_RESPONSE: Row(Verdict.NEXT, Fault.NO_RESPONSE.value, Blame.OPEN),
    Fault.NO_PROGRESS: Row(
        Verdict.NEXT, Fault.NO_PROGRESS.value, Blame.COUNT
    ),  # may be a callee slow to be found
}
NO_ANSWER = Row(Verdict.FINAL, "no_answer")
ANSWER = Row(Verdict.ANSWERED, "answered")
FORBIDDEN_US = Row(Verdict.NEXT_TRUNK, "credentials_forbidden", Blame.OPEN_TRUNK, alert=True)
FATAL = Row(Verdict.NEXT_TRUNK, "trunk_suspended", Blame.OPEN_TRUNK, alert=True)


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """``fatal_match``: this code with this header (any value) is about the trunk, not about the callee."""

    code: int
    header: str


@dataclass(frozen=True, slots=True)
class CodePolicy:
    """What a trunk file says beyond the table. ``failover_codes`` is also how 480 becomes one of them."""

    failover_codes: frozenset[int] = frozenset()
    final_codes: frozenset[int] = frozenset()
    fatal_match: tuple[HeaderMatch, ...] = ()
    retry_after_cap_s: float = RETRY_AFTER_CAP_S

    def __post_init__(self) -> None:
        both = sorted(self.failover_codes & self.final_codes)
        if both:
            raise ValueError(f"{', '.join(map(str, both))}: in failover_codes and in final_codes")
        wrong = sorted(code for code in self.failover_codes | self.final_codes if not 300 <= code <= 699)
        if wrong:
            raise ValueError(f"{', '.join(map(str, wrong))}: no final response; allowed: 300 to 699")
        asked = sorted(self.failover_codes & NEVER)
        if asked:
            raise ValueError(
                f"{', '.join(map(str, asked))}: speaks of the callee and is never asked again elsewhere"
            )


# The callee has decided, or the number is wrong: no trunk file can make these move on (their fatal_match can).
NEVER = frozenset({404, 410, 484, 486, 487, 600, 603, 604, 607, 608})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one INVITE went: a final response (``code``, headers by lower-case name) or a ``fault``."""

    code: int = 0
    fault: Fault | None = None
    headers: Mapping[str, tuple[str, ...]] | None = None
    authenticated: bool = False  # the trunk has credentials, so they were sent
    rang: bool = False  # a provisional response beyond 100 came before
    media_started: bool = False  # an 18x with SDP came before

    def header(self, name: str) -> tuple[str, ...]:
        return (self.headers or {}).get(name.lower(), ())


@dataclass(frozen=True, slots=True)
class Decision:
    """``leave_alone_s``: the target is to be left alone so long (Retry-After, capped)."""

    verdict: Verdict
    reason: str
    blame: Blame
    alert: bool = False
    leave_alone_s: float = 0.0
    contacts: tuple[str, ...] = ()


def decide(outcome: Outcome, policy: CodePolicy) -> Decision:
    """What the call, the breaker and the operator make of it."""
    row = _row(outcome, policy)
    verdict = row.verdict
    if outcome.media_started and verdict not in (Verdict.ANSWERED, Verdict.CODEC):
        verdict = Verdict.FINAL
    contacts = redirect_uris(outcome.header("contact")) if verdict is Verdict.REDIRECT else ()
    if verdict is Verdict.REDIRECT and not contacts:
        verdict = Verdict.FINAL
    seconds = retry_after(outcome.header("retry-after"), policy.retry_after_cap_s) if row.waits else None
    return Decision(verdict, row.reason, row.blame, row.alert, seconds or 0.0, contacts)


def _row(outcome: Outcome, policy: CodePolicy) -> Row:
    """The line that applies; a trunk's own rules come before the table, what is fatal before both."""
    code = outcome.code
    if outcome.fault is not None:
        return FAULTS[outcome.fault]
    if not 200 <= code <= 699:
        raise ValueError(f"{code} is no final response")
    if code < 300:
        return ANSWER
    if any(match.code == code and outcome.header(match.header) for match in policy.fatal_match):
        return FATAL
    known = CODES.get(code, CODES[code // 100 * 100])
    if code not in CODES and code >= 400:
        known = replace(known, reason=f"sip_{code}")
    if known.unanswered and outcome.rang:
        return NO_ANSWER
    if code in policy.final_codes:
        return replace(known, verdict=Verdict.FINAL)
    if code in policy.failover_codes:
        return replace(known, verdict=Verdict.NEXT)
    return FORBIDDEN_US if code == 403 and outcome.authenticated else known


def retry_after(values: tuple[str, ...], cap_s: float) -> float | None:
    """Seconds of the first Retry-After that can be read, at most ``cap_s``; None if there is none."""
    for value in values:
        match = _RETRY_AFTER.fullmatch(value)
        if match is not None:
            digits = match[1].lstrip("0")
            return min(float(digits or "0"), cap_s) if len(digits) < 10 else cap_s
    return None


def redirect_uris(contacts: tuple[str, ...]) -> tuple[str, ...]:
    """The sip: and sips: URIs of a 3xx, best q first (RFC 3261 sections 8.1.3.4 and 20.10)."""
    found: list[tuple[float, str]] = []
    for value in header_items(contacts):
        uri = parse_uri(value)
        if uri is None or uri.scheme == "tel" or not uri.host:
            continue
        q = _Q.search(value.rpartition(">")[2])
        port = f":{uri.port}" if uri.port else ""
        user = f"{uri.user}@" if uri.user else ""
        found.append((-float(q[1]) if q else -1.0, f"{uri.scheme}:{user}{uri.host}{port}"))
    return tuple(dict.fromkeys(uri for _, uri in sorted(found, key=lambda each: each[0])))
