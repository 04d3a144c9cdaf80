"""A trunk file as the values that the cores of ``sipua.trunks`` take, what in it contradicts itself, and ``NOT_YET``.

Reads no file and no environment. A ValueError of a core becomes a fault that names the keys it was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from sipua.sip_events import SdpPlan, SrtpPolicy
from sipua.trunk import Trunk
from sipua.trunks.attempt import LegRules
from sipua.trunks.capacity import Limits
from sipua.trunks.numbers import NumberPlan, NumberSet
from sipua.trunks.policy import CodePolicy, HeaderMatch
from sipua.trunks.registration import RegistrationRules
from sipua.trunks.routing import Direction, TrunkRoute
from sipua.trunks.watch import HealthRules

# Keys that the SIP layer does not obey yet: on an enabled trunk they may only have their defaults (what happens
# today), so that nobody believes in what is not there. The one table; docs/settings.md and docs/trunks.md show it.
NOT_YET: dict[str, str] = {
    "refer": "incoming REFER",
}
SECRET_KEYS = frozenset({"password_env", "password_file", "inbound_password_env", "inbound_password_file"})

Fault = tuple[tuple[str, ...], str]  # the keys concerned, and the text


def not_yet(trunk: Trunk) -> list[str]:
    """One line per key of ``NOT_YET`` that asks for more than there is."""
    lines = []
    for key, what in NOT_YET.items():
        value = getattr(trunk, key)
        default = type(trunk).model_fields[key].get_default(call_default_factory=True)
        if value != default:
            allowed = "leave it out" if default in ("", (), {}) else f"allowed: {_text(default)}"
            lines.append(f"{_shown(trunk, key)}: {what}: not in this version; {allowed}, or enabled = false")
    return lines


def _text(value: object) -> str:
    if isinstance(value, tuple | list | frozenset):
        return f"[{', '.join(map(str, sorted(value) if isinstance(value, frozenset) else value))}]"
    return f"{str(value).lower()}" if isinstance(value, bool) else repr(value)


def _shown(trunk: Trunk, key: str) -> str:
    """``key = value``; never what is about a password, for people paste the password itself there."""
    hidden = key in SECRET_KEYS or key == "per_number_credentials"
    return key if hidden else f"{key} = {_text(getattr(trunk, key))}"


# ---- the cores' values -------------------------------------------------------------------------------------


def number_plan_of(trunk: Trunk) -> NumberPlan:
    """How it writes and reads numbers."""
    return NumberPlan(
        region=trunk.region,
        to_format=trunk.to_format,
        from_format=trunk.from_format,
        received_format=trunk.received_format,
        may_dial=NumberSet(trunk.may_dial),
        caller_id=trunk.caller_id,
        allowed_caller_ids=NumberSet(trunk.allowed_caller_ids),
        auth_user=trunk.auth_user,
        per_number_auth=bool(trunk.per_number_credentials),
    )


def limits_of(trunk: Trunk) -> Limits:
    """What it carries at once."""
    return Limits(trunk.max_channels, trunk.cps)


def fixed_address(trunk: Trunk) -> str:
    """Our address as its file names it; "" if that does not."""
    return "" if trunk.public_ip == "auto" else trunk.public_ip


def family_of(trunk: Trunk, default_bind: str) -> str:
    """A or AAAA: the records of its targets that its listener can reach; ``default_bind`` is that of sip.bind."""
    return "AAAA" if ":" in (trunk.bind or default_bind) else "A"


def srtp_of(trunk: Trunk) -> SrtpPolicy:
    """What its media must be protected with."""
    return SrtpPolicy(trunk.srtp, trunk.srtp_suites)


def sdp_plan_of(trunk: Trunk, address: str, port: int, chosen: str | None = None) -> SdpPlan:
    """Our SDP of its calls, with our RTP there; ``chosen`` is the codec picked from an offer."""
    return SdpPlan(
        address,
        port,
        trunk.codecs,
        chosen,
        srtp_of(trunk),
        has_telephone_events=trunk.dtmf == "rfc4733",
        ptime_ms=trunk.ptime,
    )


def route_of(trunk: Trunk) -> TrunkRoute:
    """What routing needs of it."""
    return TrunkRoute(
        name=trunk.name,
        plan=number_plan_of(trunk),
        enabled=trunk.enabled,
        direction=Direction(trunk.direction),
        priority=trunk.priority,
        weight=trunk.weight,
        limits=limits_of(trunk),
        did_ranges=NumberSet(trunk.did_ranges),
    )


def code_policy_of(trunk: Trunk) -> CodePolicy:
    """What its answers mean."""
    return CodePolicy(
        failover_codes=trunk.failover_codes,
        final_codes=trunk.final_codes,
        fatal_match=tuple(HeaderMatch(each.code, each.header) for each in trunk.fatal_match),
        retry_after_cap_s=trunk.retry_after_cap_s,
    )


def leg_rules_of(trunk: Trunk) -> LegRules:
    """How long an INVITE to it may take."""
    return LegRules(
        policy=code_policy_of(trunk),
        has_credentials=bool(trunk.auth_user or trunk.per_number_credentials),
        first_response_timeout_s=trunk.first_response_timeout_ms / 1000,
        progress_timeout_s=trunk.progress_timeout_s,
        ring_timeout_s=trunk.ring_timeout_s,
    )


def health_rules_of(trunk: Trunk) -> HealthRules:
    """When it is well."""
    return HealthRules(
        options_interval_s=trunk.options_interval_s,
        options_timeout_s=trunk.options_timeout_s,
        ok_codes=trunk.options_ok_codes,
        down_after=trunk.down_after,
        up_after=trunk.up_after,
        hold_down_s=trunk.hold_down_s,
        fault_hold_down_s=trunk.fault_hold_down_s,
        open_after=trunk.open_after,
        retry_after_cap_s=trunk.retry_after_cap_s,
    )


def registration_rules_of(trunk: Trunk) -> RegistrationRules:
    """When it is registered anew."""
    return RegistrationRules(
        expires_s=trunk.reg_expires_s,
        retry_first_s=trunk.reg_retry_first_s,
        retry_cap_s=trunk.reg_retry_cap_s,
        retry_jitter=trunk.reg_retry_jitter,
        retry_after_cap_s=trunk.retry_after_cap_s,
    )


_MADE_OF: tuple[tuple[Callable[[Any], object], tuple[str, ...]], ...] = (
    (number_plan_of, ("region", "caller_id")),
    (code_policy_of, ("failover_codes", "final_codes")),
    (health_rules_of, ("options_interval_s", "options_timeout_s", "options_ok_codes")),
    (registration_rules_of, ("reg_retry_first_s", "reg_retry_cap_s")),
)

# ---- contradictions ----------------------------------------------------------------------------------------

_TLS_KEYS = ("tls_ca", "tls_name")
# (holds, keys, what is allowed): a row that holds is a fault.
_ROWS: tuple[tuple[Callable[[Any], bool], tuple[str, ...], str], ...] = (
    (
        lambda t: t.kind == "register" and not t.registrar_uri,
        ("kind", "registrar_uri"),
        "a trunk that registers needs registrar_uri; allowed: sip:HOST, or kind = static",
    ),
    (
        lambda t: t.kind == "static" and bool(t.registrar_uri),
        ("registrar_uri", "kind"),
        "a static trunk does not register; allowed: kind = register, or no registrar_uri",
    ),
    (
        lambda t: t.kind == "register" and not (t.auth_user or t.aor_user),
        ("aor_user", "auth_user"),
        "whose address is to be registered? set one of them",
    ),
    (
        lambda t: t.kind == "register" and not t.domain,
        ("domain",),
        "a trunk that registers needs one: its address of record lies there",
    ),
    (
        lambda t: t.direction == "outbound" and not (t.domain or t.outbound_proxies),
        ("direction", "domain", "outbound_proxies"),
        "calls could go nowhere; set domain",
    ),
    (
        lambda t: t.direction == "inbound" and t.kind == "static" and not t.inbound_acl,
        ("direction", "inbound_acl"),
        "nobody could call; name networks in inbound_acl",
    ),
    (
        lambda t: bool(t.inbound_auth_user) and (t.direction == "outbound" or not t.inbound_acl),
        ("inbound_auth_user", "inbound_acl", "direction"),
        "digest is asked of those on inbound_acl, nobody else may call; name networks, 0.0.0.0/0 is anywhere",
    ),
    (
        lambda t: bool(t.auth_user and t.per_number_credentials),
        ("auth_user", "per_number_credentials"),
        "one digest user or one per number, not both",
    ),
    (
        lambda t: t.srtp != "off" and t.transport != "tls",
        ("srtp", "transport"),
        "SDES keys would travel in clear; allowed: transport = tls, or srtp = off",
    ),
    (lambda t: t.srtp != "off" and not t.srtp_suites, ("srtp_suites",), "srtp needs a suite"),
    (
        lambda t: t.transport != "tls" and any(getattr(t, key) for key in _TLS_KEYS),
        ("transport", *_TLS_KEYS),
        "only with transport = tls",
    ),
    (lambda t: t.min_se > t.se, ("min_se", "se"), "min_se may not be longer than se"),
    (
        lambda t: (
            bool(t.rtp_port_min or t.rtp_port_max)
            and not 0 < t.rtp_port_min + t.rtp_port_min % 2 < t.rtp_port_max
        ),
        ("rtp_port_min", "rtp_port_max"),
        "both are 0, or min is below max and an even port with the odd one above lies between them",
    ),
    (
        lambda t: t.first_response_timeout_ms / 1000 > t.progress_timeout_s,
        ("first_response_timeout_ms", "progress_timeout_s"),
        "the first response may not take longer than progress",
    ),
    (
        lambda t: t.pai == "off" and t.privacy == "id",
        ("privacy", "pai"),
        "privacy = id hides what pai = send would tell; set both",
    ),
)  # fmt: skip


def contradictions(trunk: Trunk) -> Iterator[Fault]:
    """What cannot be meant so, each with the keys and their values."""
    for holds, keys, text in _ROWS:
        if holds(trunk):
            yield keys, f"{', '.join(_shown(trunk, key) for key in keys)}: {text}"
    yield from _secret_faults(trunk)
    plan = NumberSet((*trunk.allowed_caller_ids, *([trunk.caller_id] if trunk.caller_id else [])))
    seen: set[str] = set()
    for index, each in enumerate(trunk.per_number_credentials):
        key = f"per_number_credentials.{index}"
        if each.number not in plan:
            text = f"{key}.number = {each.number!r}: is not in allowed_caller_ids"
            yield ("per_number_credentials", "allowed_caller_ids"), text
        if each.number in seen:
            yield ("per_number_credentials",), f"{key}.number = {each.number!r}: is named twice"
        seen.add(each.number)
    for make, keys in _MADE_OF:
        try:
            make(trunk)
        except ValueError as error:
            yield keys, f"{', '.join(_shown(trunk, key) for key in keys)}: {error}"


def _secret_faults(trunk: Trunk) -> Iterator[Fault]:
    """A user without a password, a password without a user, two places for one password."""
    for prefix in ("", "inbound_"):
        user, env, file = f"{prefix}auth_user", f"{prefix}password_env", f"{prefix}password_file"
        given = [key for key in (env, file) if getattr(trunk, key)]
        if len(given) == 2:
            yield (env, file), f"{env}, {file}: the password is in one of them, not in both"
        if getattr(trunk, user) and not given:
            yield (user, env, file), f"{_shown(trunk, user)}: without a password; set {env} or {file}"
        if given and not getattr(trunk, user):
            yield (user, given[0]), f"{given[0]}: a password without {user}"
    for index, each in enumerate(trunk.per_number_credentials):
        if bool(each.password_env) == bool(each.password_file):
            text = f"per_number_credentials.{index}: set one of password_env and password_file"
            yield ("per_number_credentials",), text


def secret_references(trunk: Trunk) -> Iterator[tuple[str, str, str]]:
    """(key for messages, environment name, file) of every password of the trunk."""
    for prefix in ("", "inbound_"):
        env, file = getattr(trunk, f"{prefix}password_env"), getattr(trunk, f"{prefix}password_file")
        if env or file:
            yield f"{prefix}password_{'env' if env else 'file'}", env, file
    for index, each in enumerate(trunk.per_number_credentials):
        key = f"per_number_credentials.{index}.password_{'env' if each.password_env else 'file'}"
        yield key, each.password_env, each.password_file
