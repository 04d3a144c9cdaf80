"""The pjsip transports of the process, one per address, port and protocol, opened when an account needs them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pjsua2 as pj

from sipua.errors import ConfigError, LocalError
from sipua.pj.directors import split_address
from sipua.sip_account import Listener, TlsFiles

MAX_LISTENERS = 8  # pjsua_var.tpdata[8] of pjsua_internal.h
# Debian, Red Hat, Alpine; pjsip wants one file.
CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
)  # fmt: skip
_TYPES = {"udp": pj.PJSIP_TRANSPORT_UDP, "tcp": pj.PJSIP_TRANSPORT_TCP, "tls": pj.PJSIP_TRANSPORT_TLS}
_PROTOCOLS = {
    "1.2": pj.PJ_SSL_SOCK_PROTO_TLS1_2 | pj.PJ_SSL_SOCK_PROTO_TLS1_3, "1.3": pj.PJ_SSL_SOCK_PROTO_TLS1_3
}  # fmt: skip

Place = tuple[str, str, int]  # transport, address, port as asked for


@dataclass(frozen=True, slots=True)
class Opened:
    """``address`` is where it listens, ``published`` what pjsip tells others; ``asked`` what it was opened for."""

    id: int
    address: tuple[str, int]
    published: tuple[str, int]
    asked: Listener


class Listeners:
    """On the pjsua2 thread only. ``has_tls13``: whether the TLS library of this build knows it.

    ``compares_names``: whether pjsip is to verify certificates by itself, as ``certificates`` cannot.
    """

    def __init__(self, endpoint: pj.Endpoint, *, has_tls13: bool, compares_names: bool) -> None:
        self._compares_names = compares_names
        self._endpoint = endpoint
        self._has_tls13 = has_tls13
        self._opened: dict[Place, Opened] = {}

    def open(self, listener: Listener) -> Opened:
        """The transport for it, there already or opened now. ConfigError or LocalError if that cannot be."""
        place = place_of(listener)
        found = self._opened.get(place)
        if found is None:
            found = self._opened[place] = self._create(listener)
        return found

    def check(self, wanted: Iterable[Listener]) -> None:
        """ConfigError if these cannot all be open beside each other and beside what is."""
        asked = {place: each.asked for place, each in self._opened.items()}
        for each in wanted:
            if each.tls is not None and each.tls.min_version == "1.3" and not self._has_tls13:
                raise ConfigError(
                    "tls_min_version = '1.3': the TLS library of this pjsua2 has 1.2 at most; use make pjsua2"
                )
            other = asked.setdefault(place_of(each), each)
            if _socket_of(other) != _socket_of(each):
                raise ConfigError(
                    f"{_text(each)}: is asked for twice with different dscp or TLS files (or was opened with others: "
                    "then a new start is needed); give one of the trunks a bind_port of its own"
                )
        check_count(asked)

    def keep(self, wanted: Iterable[Listener]) -> None:
        """Closes those that nobody wants any more."""
        places = {place_of(each) for each in wanted}
        for place in [each for each in self._opened if each not in places]:
            self._endpoint.transportClose(self._opened.pop(place).id)

    def port_at(self, transport: str, port: int) -> int:
        """``port`` if one of ours listens there, else that of the only listener of the transport, else 0."""
        ports = [each.address[1] for each in self._opened.values() if each.asked.transport == transport]
        return port if port in ports else ports[0] if len(ports) == 1 else 0

    def _create(self, listener: Listener) -> Opened:
        config = pj.TransportConfig()
        config.boundAddress = listener.bind
        config.port = listener.port
        config.publicAddress = listener.public_address
        if listener.dscp:
            for params in (config.qosParams, config.tlsConfig.qosParams):  # pjsip looks at the latter for TLS
                params.flags = pj.PJ_QOS_PARAM_HAS_DSCP
                params.dscp_val = listener.dscp
        if listener.tls is not None:
            _set_tls(config.tlsConfig, listener.tls)
            config.tlsConfig.verifyServer = self._compares_names
        kind = _TYPES[listener.transport] | (pj.PJSIP_TRANSPORT_IPV6 if ":" in listener.bind else 0)
        try:
            id = self._endpoint.transportCreate(kind, config)
        except pj.Error as error:
            raise LocalError(f"SIP cannot listen on {_text(listener)}: {error.reason}") from None
        info = self._endpoint.transportGetInfo(id)
        return Opened(id, split_address(info.localAddress), split_address(info.localName), listener)


def check_count(places: Collection[Place]) -> None:
    """ConfigError if these are too many."""
    if len(places) > MAX_LISTENERS:
        raise ConfigError(
            f"the trunks need {len(places)} SIP listeners; allowed: {MAX_LISTENERS} (pjsua's limit)"
        )


def place_of(listener: Listener) -> Place:
    return listener.transport, listener.bind, listener.port


def _socket_of(listener: Listener) -> Listener:
    """What is fixed once it is open; the public address is told in the Contact of each account."""
    return replace(listener, public_address="")


def _text(listener: Listener) -> str:
    host = f"[{listener.bind}]" if ":" in listener.bind else listener.bind
    return f"{listener.transport} {host}:{listener.port}"


def _set_tls(config: pj.TlsConfig, files: TlsFiles) -> None:
    """A server is always verified, by pjsip or by ``certificates``; of a client no certificate is required."""
    config.proto = _PROTOCOLS[files.min_version]
    config.verifyClient = False
    config.requireClientCert = False
    config.CaListFile = files.ca or _system_bundle()
    named = (
        ("tls_ca", config.CaListFile),
        ("sip.tls_certificate", files.certificate),
        ("sip.tls_key", files.key),
    )
    for key, file in named:
        if file and not Path(file).is_file():
            raise ConfigError(
                f"{key} = {file!r}: there is no such file; allowed: a file in PEM, or leave it out"
            )
    if bool(files.certificate) != bool(files.key):
        raise ConfigError("sip.tls_certificate, sip.tls_key: set both or neither")
    config.certFile, config.privKeyFile = files.certificate, files.key


def _system_bundle() -> str:
    for file in CA_BUNDLES:
        if Path(file).is_file():
            return file
    raise ConfigError(f"TLS: no CA certificates of the system at {', '.join(CA_BUNDLES)}; set tls_ca")
