"""Which INVITE is let in, by which trunk, with which codec and on which RTP ports.

Runs on the pjsua2 thread while the INVITE is being looked at, so that a refusal needs no round trip and the local
SDP can be made: quick, thread-safe, no asyncio. pjsua makes the SDP for an INVITE as soon as its callback returns,
which is why the ports are taken here and not in the call's coroutine.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from rtp.errors import RtpError
from sipua.config_file import read_secret
from sipua.digest import REALM, Digest, Proof, Request
from sipua.media_ports import ANY, MediaPorts, Sockets, local_address_towards
from sipua.occupancy import Occupancy
from sipua.sdes import choose, pick
from sipua.sdp import AudioMedia, SdpError, accept, parse_audios
from sipua.sip_events import Arrival, Credential, Refusal, SdpPlan
from sipua.sip_message import SipMessage, parse_uri
from sipua.trunk import Trunk, find_inbound
from sipua.trunk_rules import limits_of, route_of, sdp_plan_of, srtp_of
from sipua.trunks.routing import TrunkRoute, takes_did

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5  # how long a full or draining process asks the trunk to leave it alone


@dataclass(frozen=True, slots=True)
class Grant:
    """What an admitted call got: its trunk, codec, bound sockets. ``offer`` is None for a late offer.

    ``token`` goes back to ``Occupancy.leave`` once the leg is gone.
    """

    trunk: Trunk
    codec: str
    plan: SdpPlan
    offer: AudioMedia | None
    sockets: Sockets
    token: UUID

    @property
    def has_early_media(self) -> bool:
        """Whether the caller gets sound before the answer. Without an offer ours would need a reliable 183."""
        return self.trunk.early_media and self.offer is not None


class Admission:
    """The decision and the ports. ``draining`` is set when the process is about to end."""

    def __init__(self, trunks: Sequence[Trunk], ports: MediaPorts, occupancy: Occupancy) -> None:
        self.occupancy = occupancy
        self.draining = threading.Event()
        self._ports = ports
        self._trunks: tuple[Trunk, ...] = ()
        self._routes: dict[str, TrunkRoute] = {}
        self._digest = Digest(secrets.token_bytes(32))
        self._callers: dict[str, Credential] = {}  # by trunk: whom its callers must prove to be
        self.replace(trunks)

    def replace(self, trunks: Sequence[Trunk]) -> None:
        """Other trunk files from the next INVITE on; calls that are up keep theirs.

        ConfigError, and nothing is changed, if the password of a trunk's callers is not there.
        """
        self._callers = self._callers | callers_of(trunks)
        self._routes = self._routes | {trunk.name: route_of(trunk) for trunk in trunks}
        self._trunks = tuple(trunks)

    def trunk_of(self, address: str, local_port: int = 0, transport: str = "") -> Trunk | None:
        """The trunk on whose ACL ``address`` is, of those that take calls there."""
        return find_inbound(self._trunks, address, local_port, transport)

    def trunk_named(self, name: str | None) -> Trunk | None:
        """One of those in force."""
        return next((trunk for trunk in self._trunks if trunk.name == name), None)

    def select(
        self, source: tuple[str, int], local: tuple[str, int], transport: str, message: SipMessage
    ) -> str | None:
        """The account that pjsua is to take an INVITE with: the trunk's.

        An offer whose keys cannot be taken is left to the default account: pjsua would refuse it with 406 by an account
        that has SRTP, and with 488 (or let it through to us, who refuse it) by one that has none.
        """
        trunk = self.trunk_of(source[0], local[1], transport)
        if trunk is None or not _has_keys_for(trunk, message.body):
            return None
        return trunk.name

    def __call__(self, arrival: Arrival, message: SipMessage) -> Grant | Refusal:
        source = arrival.source
        trunk = self.trunk_of(source[0], arrival.local[1], arrival.transport)
        if trunk is None:
            return Refusal(403, "source is on no trunk's ACL", None)
        if is_from_ourselves(arrival):
            return Refusal(482, "it comes from this agent itself", trunk.name)
        if self.draining.is_set():
            return _busy(trunk, "draining")
        if trunk.inbound_auth_user:
            challenge = self._challenge(trunk, message)
            if challenge is not None:
                return challenge
        if not takes_did(self._routes[trunk.name], _dialled_user(message)):
            return Refusal(404, "the number is in none of the trunk's did_ranges", trunk.name)
        if trunk.rel100 == "off" and "100rel" in _options(message, "require"):  # pjsip would do it
            return Refusal(420, "100rel is off", trunk.name, (("Unsupported", "100rel"),))
        offer: AudioMedia | None = None
        codec = trunk.codecs[0]
        if message.body.strip():
            try:
                offer = pick(parse_audios(message.body), srtp_of(trunk))
                codec = accept(offer, trunk.codecs).name
                choose(offer, srtp_of(trunk))
            except SdpError as error:
                return Refusal(
                    488, str(error), trunk.name, (("Warning", f"399 sipua {_quoted(str(error))}"),)
                )
        if arrival.account != trunk.name:  # its SRTP and timers would not be those of the trunk
            return _busy(trunk, "the trunk has no SIP account (yet)")
        token = self.occupancy.admit(trunk.name, limits_of(trunk))
        if isinstance(token, str):
            return _busy(trunk, token)
        try:
            opened = self._ports.open(trunk, source[0])
        except RtpError as error:  # none free, or the bind address is not (any more) this machine's
            self.occupancy.leave(token)
            return _busy(trunk, str(error))
        except OSError as error:
            self.occupancy.leave(token)
            return Refusal(503, f"no route to {source[0]}: {error.strerror}", trunk.name)
        plan = sdp_plan_of(trunk, opened.address, opened.port, codec)
        return Grant(trunk, codec, plan, offer, opened.sockets, token)

    def _challenge(self, trunk: Trunk, message: SipMessage) -> Refusal | None:
        """The 401 for a caller that has not proven to be the trunk's ``inbound_auth_user``; None if it has."""
        now = time.monotonic()
        credentials = message.headers.get("authorization", ())
        request = Request(*_asked(message), credentials, trunk.inbound_algorithms)
        proof = self._digest.judge(request, self._callers[trunk.name], now)
        if proof is Proof.PROVEN:
            return None
        headers = self._digest.challenge(trunk.inbound_algorithms, now, stale=proof is Proof.STALE)
        return Refusal(401, proof.value, trunk.name, headers)


def _has_keys_for(trunk: Trunk, body: str) -> bool:
    """Whether an offer is such as the trunk's ``srtp`` wants it."""
    if trunk.srtp == "off" or not body.strip():
        return True
    try:
        policy = srtp_of(trunk)
        choose(pick(parse_audios(body), policy), policy)
    except SdpError as error:  # pjsua's own refusal does not say it
        log.info("< INVITE by trunk %s: %s", trunk.name, error)
        return False
    return True


def is_from_ourselves(arrival: Arrival) -> bool:
    """Whether the listener that it came to sent it: two of our conversations would talk with each other."""
    (source, port), (local, local_port) = arrival.source, arrival.local
    return port == local_port and (source == local or (local in ANY and _is_of_this_machine(source)))


def _is_of_this_machine(address: str) -> bool:
    with contextlib.suppress(OSError):
        return local_address_towards(address) == address
    return False


def _busy(trunk: Trunk, why: str) -> Refusal:
    """503 with a time: the trunk may come back, or send the call elsewhere."""
    return Refusal(503, why, trunk.name, (("Retry-After", str(RETRY_AFTER_S)),))


def callers_of(trunks: Sequence[Trunk]) -> dict[str, Credential]:
    """Whom the callers of each enabled trunk must prove to be. ConfigError if a password is not there."""
    return {each.name: _caller_of(each) for each in trunks if each.enabled and each.inbound_auth_user}


def _caller_of(trunk: Trunk) -> Credential:
    password = read_secret(
        f"trunk {trunk.name}: inbound_password", trunk.inbound_password_env, trunk.inbound_password_file
    )
    return Credential(REALM, trunk.inbound_auth_user, password.get_secret_value())


def _asked(message: SipMessage) -> tuple[str, str]:
    """Method and Request-URI."""
    parts = message.start_line.split(" ")
    return (parts[0], parts[1]) if len(parts) == 3 else ("", "")


def _options(message: SipMessage, header: str) -> set[str]:
    """The option tags of a header."""
    return {tag.strip().lower() for value in message.headers.get(header, ()) for tag in value.split(",")}


def _dialled_user(message: SipMessage) -> str:
    """User part of the Request-URI."""
    uri = parse_uri(_asked(message)[1])
    return uri.user if uri is not None else ""


def _quoted(text: str) -> str:
    """A quoted-string (RFC 3261 section 25.1) of what a peer may have had a hand in."""
    return '"' + "".join(c for c in text if c.isascii() and c.isprintable() and c not in '"\\')[:200] + '"'
