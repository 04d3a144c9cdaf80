"""The trunk files as the accounts of the SIP layer. Pure: passwords are read elsewhere and passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import SecretStr

from sipua.config_file import read_secret
from sipua.settings import SipSettings
from sipua.sip_account import Account, Listener, TlsFiles
from sipua.sip_events import Credential
from sipua.sip_message import parse_uri
from sipua.trunk import Trunk
from sipua.trunk_rules import fixed_address
from sipua.trunks.numbers import national_number

Secrets = Mapping[tuple[str, str], SecretStr]  # by (trunk, caller id), "" for that of every caller id


@dataclass(frozen=True, slots=True)
class Place:
    """Where this process listens. ``has_fixed_ports``: the trunks' ``bind_port`` too; a test call has any free ones."""

    bind: str
    port: int
    contact_user: str
    tls_port: int = 0
    certificate: str = ""
    key: str = ""
    has_fixed_ports: bool = True
    told: str = ""  # our address as the other side knows it, where that is another one


def place_of(sip: SipSettings) -> Place:
    """That of an agent."""
    return Place(
        bind=str(sip.bind),
        port=sip.port,
        contact_user=sip.contact_user,
        tls_port=sip.tls_port,
        certificate=sip.tls_certificate,
        key=sip.tls_key,
    )


def secrets_of(trunks: Sequence[Trunk]) -> Secrets:
    """The passwords of the enabled ones, read now. ConfigError if one is not there."""
    found = {}
    for trunk in trunks:
        if not trunk.enabled:
            continue
        if trunk.auth_user:
            found[trunk.name, ""] = read_secret(
                f"trunk {trunk.name}: password", trunk.password_env, trunk.password_file
            )
        for each in trunk.per_number_credentials:
            found[trunk.name, each.number] = read_secret(
                f"trunk {trunk.name}: per_number_credentials", each.password_env, each.password_file
            )
    return found


def accounts_of(
    trunks: Sequence[Trunk],
    place: Place,
    secrets: Secrets,
    address_of: Callable[[Trunk], str] = fixed_address,
) -> tuple[Account, ...]:
    """One per enabled trunk, by its name, and one more per number with a credential of its own.

    ``address_of`` is what the trunk is told of us; "" is the address that we listen on.
    """
    return tuple(
        account
        for trunk in trunks
        if trunk.enabled
        for account in _of_trunk(trunk, replace(place, told=address_of(trunk)), secrets)
    )


def account_name(trunk: Trunk, caller: str) -> str:
    """The account of an outbound call that presents ``caller`` (E.164)."""
    has_own = any(each.number == caller for each in trunk.per_number_credentials)
    return f"{trunk.name}/{caller}" if has_own else trunk.name


def listener_of(trunk: Trunk, place: Place) -> Listener:
    """Where its calls come in and its requests leave from."""
    is_tls = trunk.transport == "tls"
    port = place.tls_port if is_tls else place.port
    return Listener(
        transport=trunk.transport,
        bind=trunk.bind or place.bind,
        port=trunk.bind_port or port if place.has_fixed_ports else 0,
        public_address=place.told,
        dscp=trunk.dscp,
        tls=TlsFiles(trunk.tls_ca, place.certificate, place.key, trunk.tls_min_version) if is_tls else None,
    )


def own_listener(accounts: Sequence[Account], place: Place) -> Listener:
    """The endpoint's own listener: as the trunk that shares it wants it."""
    plain = Listener("udp", place.bind, place.port)
    shared = (
        each.listener for each in accounts if replace(each.listener, public_address="", dscp=0) == plain
    )
    return next(shared, plain)


def _of_trunk(trunk: Trunk, place: Place, secrets: Secrets) -> Iterator[Account]:
    secret = secrets.get((trunk.name, ""))
    yield _account(trunk, place, trunk.name, _credential(trunk, trunk.auth_user, secret))
    for each in trunk.per_number_credentials:
        credential = _credential(trunk, national_number(each.number), secrets[trunk.name, each.number])
        yield _account(trunk, place, account_name(trunk, each.number), credential)


def _account(trunk: Trunk, place: Place, name: str, credential: Credential | None) -> Account:
    listener = listener_of(trunk, place)
    contact_user = trunk.contact_user or place.contact_user
    user = trunk.aor_user or trunk.auth_user.partition("@")[0] or contact_user
    return Account(
        name=name,
        trunk=trunk.name,
        listener=listener,
        address_of_record=f"sip:{user}@{trunk.domain or listener.bind}",
        contact_user=contact_user,
        credential=credential,
        registrar=trunk.registrar_uri if name == trunk.name else "",
        outbound_proxies=tuple(f"sip:{each};transport={trunk.transport}" for each in trunk.outbound_proxies),
        headers=_headers(trunk),
        srtp=trunk.srtp,
        srtp_suites=trunk.srtp_suites,
        rel100=trunk.rel100,
        session_timer=trunk.session_timer,
        session_expires_s=trunk.se,
        min_se_s=trunk.min_se,
        tls_names=_tls_names(trunk),
    )


def _tls_names(trunk: Trunk) -> tuple[str, ...]:
    """``tls_name``, or every name that the file has for its far end."""
    if trunk.transport != "tls":
        return ()
    places = (trunk.domain, *trunk.outbound_proxies, trunk.registrar_uri.partition(":")[2].partition(";")[0])
    hosts = (parsed.host.lower() for each in places if each and (parsed := parse_uri(f"sip:{each}")))
    return (trunk.tls_name.lower(),) if trunk.tls_name else tuple(dict.fromkeys(hosts))


def _headers(trunk: Trunk) -> tuple[tuple[str, str], ...]:
    agent = (("User-Agent", trunk.user_agent),) if trunk.user_agent else ()
    return (*agent, *trunk.extra_headers.items())


def _credential(trunk: Trunk, user: str, secret: SecretStr | None) -> Credential | None:
    if secret is None:
        return None
    return Credential(trunk.realm or "*", user, secret.get_secret_value())
