"""SDES (RFC 4568): which ``a=crypto`` line of an offer is taken, what our own SDP carries, and the keys of it. No I/O.

pjsua makes our keys and writes them into the local SDP; what is offered and taken is decided here, because pjsua knows
suites that we cannot run and looks at neither MKI nor session parameters. Its media stack is not ours, so it need not
agree with the choice, but it checks the tags of an answer against our offer: they count from 1 without a gap.

    srtp        offers                  takes
    off         RTP/AVP                 RTP/AVP, a=crypto ignored
    optional    RTP/AVP with a=crypto   RTP/SAVP; RTP/AVP, secured where an a=crypto line can be run
    mandatory   RTP/SAVP                RTP/SAVP

RTP/SAVP is taken with a line that can be run only. AVPF and SAVPF (RFC 4585, 5124) count as AVP and SAVP.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from sipua.sdp import AudioMedia, SdpError
from sipua.sip_events import SrtpKeys, SrtpPolicy

PLAIN = ("RTP/AVP", "RTP/AVPF")
SECURE = ("RTP/SAVP", "RTP/SAVPF")
MIN_LIFETIME = (
    1 << 20
)  # packets, 5.8 h at 50 a second: no call of ours is longer, so no key of a peer's wears out
MAX_LIFETIME = 1 << 48  # RFC 3711 section 9.2

_LINE = re.compile(r"([1-9]\d{0,8}) +(\S+) +(\S+)((?: +\S+)*) *", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9+/]{40}")  # 30 bytes, with AES_CM_128 of either tag
_LIFETIME = re.compile(r"(2\^)?(\d{1,15})", re.ASCII)
# Session parameters that change nothing for us (section 6.3); each with the values for which that is so.
_HARMLESS = re.compile(r"KDR=0|WSH=\d{1,9}|-\S+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Crypto:
    """One ``a=crypto`` line. ``key`` is master key and salt, empty where ``unusable`` says why we cannot run it."""

    tag: int
    suite: str
    key: bytes = field(repr=False)
    unusable: str = ""

    def value(self) -> str:
        """As it stands behind ``a=crypto:``."""
        return f"{self.tag} {self.suite} inline:{base64.b64encode(self.key).decode()}"


def parse_crypto(value: str) -> Crypto:
    """The value of an ``a=crypto`` line. SdpError where it is none; its keys are never in the message."""
    match = _LINE.fullmatch(value)
    if match is None:
        raise SdpError("a=crypto: it is not TAG SUITE inline:KEY")
    tag, suite, key_params = int(match[1]), match[2], match[3]
    method, _, info = key_params.partition(":")
    if method.lower() != "inline" or not info:
        raise SdpError(f"a=crypto:{tag}: the key must be inline")
    key, *rest = info.split("|")
    unusable = _refused_key(key, rest, key_params) or _refused_parameters(match[4].split())
    return Crypto(tag, suite, b"" if unusable else base64.b64decode(key), unusable)


def _refused_key(key: str, rest: list[str], key_params: str) -> str:
    if ";" in key_params:
        return "several keys"
    if not _KEY.fullmatch(key):
        return "the key is not 30 bytes in base64"
    if any(":" in each for each in rest) or len(rest) > 1:
        return "MKI"
    if not rest:
        return ""
    match = _LIFETIME.fullmatch(rest[0])
    if match is None or (match[1] and int(match[2]) > 48):
        return f"lifetime {rest[0]}"
    packets = 1 << int(match[2]) if match[1] else int(match[2])
    return "" if MIN_LIFETIME <= packets <= MAX_LIFETIME else f"lifetime {rest[0]}"


def _refused_parameters(parameters: list[str]) -> str:
    return next((f"parameter {each}" for each in parameters if not _HARMLESS.fullmatch(each)), "")


def choose(offer: AudioMedia, policy: SrtpPolicy) -> Crypto | None:
    """The line of an offer that our answer takes: its first that we can run; None is plain RTP. SdpError: a 488."""
    profile = offer.profile.upper()
    if profile not in PLAIN + SECURE:
        raise SdpError(f"m=audio: profile {offer.profile}: allowed {', '.join(PLAIN + SECURE)}")
    is_secure = profile in SECURE
    if policy.use == "off":
        if is_secure:
            raise SdpError(f"m=audio: profile {offer.profile}, but srtp = off")
        return None
    if policy.use == "mandatory" and not is_secure:
        raise SdpError(f"m=audio: profile {offer.profile}, but srtp = mandatory needs RTP/SAVP")
    cryptos = _read(offer)
    for crypto in cryptos:
        if not _objection(crypto, policy):
            return crypto
    if is_secure:
        raise SdpError(f"no a=crypto line that we can run: {_objections(cryptos, policy)}")
    return None


def pick(offered: Sequence[AudioMedia], policy: SrtpPolicy) -> AudioMedia:
    """The stream to take of several (RFC 3264 section 6), whatever their order: with SRTP unless that is off.

    pjsua takes it too, but does not look whether its keys can be run, nor falls back: ``choose`` says whether they can.
    """
    wanted = PLAIN if policy.use == "off" else SECURE
    return next((each for each in offered if each.profile.upper() in wanted), offered[0])


def _read(media: AudioMedia) -> tuple[Crypto, ...]:
    cryptos = tuple(parse_crypto(value) for value in media.cryptos)
    tags = [crypto.tag for crypto in cryptos]
    if len({*tags}) < len(tags):
        raise SdpError("a=crypto: two lines with one tag")
    return cryptos


def _objection(crypto: Crypto, policy: SrtpPolicy) -> str:
    return crypto.unusable if crypto.suite in policy.suites else "suite not allowed"


def _objections(cryptos: tuple[Crypto, ...], policy: SrtpPolicy) -> str:
    found = [f"{each.tag} {each.suite} ({_objection(each, policy)})" for each in cryptos]
    return ", ".join(found) or "there is none"


class Sdes:
    """The keys of one dialog, as its rounds of offer and answer go by.

    ``offer`` and ``answer`` give the ``a=crypto`` lines of our SDP, out of those that pjsua wrote there; ``accept``
    takes the peer's answer to our last offer, and may be called again: a 183 and the 200 may come from two phones.
    """

    def __init__(self, policy: SrtpPolicy) -> None:
        self._policy = policy
        self._offered: tuple[Crypto, ...] = ()
        self.own: dict[str, bytes] = {}  # our key of each suite, for the whole dialog
        self.keys: SrtpKeys | None = None  # None: plain RTP
        self.is_waiting = False  # for the answer to our offer, without which the keys are those before it

    @property
    def may_be_answered(self) -> bool:
        """Whether the last SDP of ours was an offer with keys."""
        return bool(self._offered)

    def offer(self, local: AudioMedia) -> tuple[str, ...]:
        """The lines that may be offered, counted anew. SdpError if there is none and has to be."""
        if self._policy.use == "off":
            return ()
        ours = {each.suite: each for each in _read(local) if not _objection(each, self._policy)}
        suites = [suite for suite in self._policy.suites if suite in ours]
        if not suites:
            raise SdpError(f"none of {', '.join(self._policy.suites)} is in the local SDP")
        self._offered = tuple(
            Crypto(tag, each, self.own.setdefault(each, ours[each].key)) for tag, each in enumerate(suites, 1)
        )
        self.is_waiting = True
        return tuple(each.value() for each in self._offered)

    def answer(self, local: AudioMedia, offer: AudioMedia) -> tuple[str, ...]:
        """The line that we take, with our key; none for plain RTP. SdpError: a 488."""
        chosen = choose(offer, self._policy)
        self.is_waiting, self._offered = False, ()
        if chosen is None:
            self.keys = None
            return ()
        made = next((each.key for each in _read(local) if not each.unusable), None)
        if made is None:
            raise SdpError("the local SDP has no key for the answer")
        ours = self.own.setdefault(chosen.suite, made)  # pjsua may have made it for another suite
        self.keys = SrtpKeys(chosen.suite, local=ours, remote=chosen.key)
        return (Crypto(chosen.tag, chosen.suite, ours).value(),)

    def accept(self, answer: AudioMedia) -> None:
        """The peer's answer. SdpError where it is none to our offer, and the keys stay as they were."""
        is_secure = answer.profile.upper() in SECURE
        cryptos = _read(answer)
        if not cryptos:
            if is_secure or self._policy.use == "mandatory":
                raise SdpError(f"the answer is {answer.profile} without a=crypto, srtp = {self._policy.use}")
            self.keys = None
        else:
            self.keys = self._agreed(cryptos)
        self.is_waiting = False

    def accept_key(self, suite: str, remote: bytes) -> None:
        """The same for an answer of which only its key is known."""
        self.keys = SrtpKeys(suite, local=self.own[suite], remote=remote)
        self.is_waiting = False

    def _agreed(self, cryptos: tuple[Crypto, ...]) -> SrtpKeys:
        if len(cryptos) > 1:
            raise SdpError(f"the answer has {len(cryptos)} a=crypto lines: one is allowed")
        [theirs] = cryptos
        ours = next((each for each in self._offered if each.tag == theirs.tag), None)
        if ours is None or ours.suite != theirs.suite:
            raise SdpError(f"the answer takes a=crypto:{theirs.tag} {theirs.suite}, which was not offered")
        if theirs.unusable:
            raise SdpError(f"the answer's a=crypto:{theirs.tag} cannot be run: {theirs.unusable}")
        return SrtpKeys(ours.suite, local=ours.key, remote=theirs.key)
