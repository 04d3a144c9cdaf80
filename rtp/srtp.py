"""SRTP and SRTCP (RFC 3711) of one media line, with keys that signalling agreed on. The only importer of pylibsrtp.

A session of libsrtp per direction: it keeps rollover counter and replay window per SSRC, so both outlive an
offer/answer that repeats the keys, and a new SSRC begins at rollover counter 0. Another key (or suite) of a
direction is another session, which begins at 0 as well. A key that comes back goes on where it was, and the sessions of
former keys of ours count along meanwhile: no index is used twice under one key (RFC 3711 §9.1), and what was recorded
under it before stays a replay. The peer changes its key a moment before or after we
learn of it, so packets under the former one are taken until the first under the new one has come.

libsrtp keeps a context for each SSRC that was authenticated and never forgets one: their number is limited here.
SRTCP has a tag of 80 bits with both suites (RFC 4568 §6.2.2), as libsrtp's profiles have it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pylibsrtp import Error, Policy, Session

from .errors import PacketError, RtpError
from .events import SrtpKeys

MAX_SOURCES = 64  # SSRCs of one peer under one key; a call has one, two with digits of their own
MAX_KEYS = 4  # of one direction that are remembered; a dialog has one or two
MASTER_BYTES = 30  # key 16, salt 14 (RFC 3711 §8.2)

_PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}
SUITES = tuple(_PROFILES)

Key = tuple[str, bytes]  # suite, master key and salt
Kept = TypeVar("Kept")

# libsrtp's words for what a packet lacks, as kinds for the counters; everything else is "malformed"
_KINDS = {
    "authentication failure": "forged",  # plain RTP and another key too
    "replay check failed (bad index)": "replayed",
    "replay check failed (index too old)": "too_old",
}


class SrtpContext:
    """Protects what we send and unprotects what the peer sent; ``renew`` follows an offer/answer."""

    __slots__ = ("_former", "_heard", "_inbound", "_keys", "_outbound", "_sent")

    def __init__(self, keys: SrtpKeys) -> None:
        """RtpError for a suite or a key length that nobody here can run."""
        self._keys = keys
        self._sent: dict[Key, Session] = {}  # by key, the one in force last
        self._heard: dict[Key, _Inbound] = {}
        self._outbound = _taken_up(self._sent, (keys.suite, keys.local), _outbound)
        self._inbound = _taken_up(self._heard, (keys.suite, keys.remote), _Inbound)
        self._former: _Inbound | None = None

    def renew(self, keys: SrtpKeys) -> None:
        """A direction whose key is the same goes on as it was."""
        before, self._keys = self._keys, keys
        if (keys.suite, keys.local) != (before.suite, before.local):
            self._outbound = _taken_up(self._sent, (keys.suite, keys.local), _outbound)
        if (keys.suite, keys.remote) != (before.suite, before.remote):
            self._former = self._inbound
            self._inbound = _taken_up(self._heard, (keys.suite, keys.remote), _Inbound)

    def protect_rtp(self, data: bytes) -> bytes:
        """The wire form of an RTP packet of ours."""
        if len(self._sent) > 1:
            for each in self._sent.values():  # they must see each wrap of the sequence
                if each is not self._outbound:
                    _protected(each.protect, data)
        return _protected(self._outbound.protect, data)

    def protect_rtcp(self, data: bytes) -> bytes:
        """The wire form of an RTCP compound of ours."""
        return _protected(self._outbound.protect_rtcp, data)

    def unprotect_rtp(self, data: bytes) -> bytes:
        """The RTP packet that the peer protected. PacketError (``srtp_…``) for all else, nothing else is raised."""
        try:
            packet = self._inbound.rtp(data)
        except PacketError as error:
            if self._former is None or error.kind != "srtp_forged":
                raise
            return self._former.rtp(data)
        self._former = None
        return packet

    def unprotect_rtcp(self, data: bytes) -> bytes:
        """The same for RTCP; PacketError with ``srtcp_…``."""
        try:
            return self._inbound.rtcp(data)
        except PacketError as error:
            if self._former is None or error.kind != "srtcp_forged":
                raise
            return self._former.rtcp(data)


class _Inbound:
    """What comes under one key of the peer's."""

    __slots__ = ("_session", "_sources")

    def __init__(self, suite: str, key: bytes) -> None:
        self._session = _session(suite, key, Policy.SSRC_ANY_INBOUND)
        self._sources: set[bytes] = set()

    def rtp(self, data: bytes) -> bytes:
        return self._unprotected(self._session.unprotect, data, data[8:12], "srtp")

    def rtcp(self, data: bytes) -> bytes:
        return self._unprotected(self._session.unprotect_rtcp, data, data[4:8], "srtcp")

    def _unprotected(self, unprotect: Callable[[bytes], bytes], data: bytes, ssrc: bytes, name: str) -> bytes:
        is_known = ssrc in self._sources
        if not is_known and len(self._sources) >= MAX_SOURCES:
            raise PacketError(f"{name}_too_many_sources", f"more than {MAX_SOURCES} SSRCs under one key")
        try:
            packet = unprotect(data)
        except Error as error:
            kind = _KINDS.get(str(error), "malformed")
            raise PacketError(f"{name}_{kind}", f"{name}: {error}") from None
        except ValueError:
            raise PacketError(f"{name}_oversized", f"{name}: packet of {len(data)} bytes") from None
        if not is_known:
            self._sources.add(ssrc)
        return packet


def renewed(context: SrtpContext | None, keys: SrtpKeys | None) -> SrtpContext | None:
    """The context after an offer/answer that agreed on ``keys``.

    None is plain RTP: the context is kept, as the same keys may come again and must not begin at rollover counter 0
    (the key stream would repeat).
    """
    if keys is None:
        return context
    if context is None:
        return SrtpContext(keys)
    context.renew(keys)
    return context


def _taken_up(known: dict[Key, Kept], key: Key, made: Callable[[str, bytes], Kept]) -> Kept:
    """What belongs to ``key``, as it was or new; the longest unused is forgotten."""
    found = known.pop(key, None) or made(*key)
    known[key] = found
    if len(known) > MAX_KEYS:
        del known[next(iter(known))]
    return found


def _outbound(suite: str, key: bytes) -> Session:
    return _session(suite, key, Policy.SSRC_ANY_OUTBOUND)


def _session(suite: str, key: bytes, ssrc_type: int) -> Session:
    if suite not in _PROFILES:
        raise RtpError(f"SRTP suite {suite}: allowed: {', '.join(SUITES)}")
    if len(key) != MASTER_BYTES:
        raise RtpError(f"SRTP master key and salt have {len(key)} bytes: {MASTER_BYTES} are needed")
    return Session(Policy(key=key, ssrc_type=ssrc_type, srtp_profile=_PROFILES[suite]))


def _protected(protect: Callable[[bytes], bytes], data: bytes) -> bytes:
    try:
        return protect(data)
    except (Error, ValueError) as error:
        raise RtpError(f"a packet of {len(data)} bytes cannot be protected: {error}") from None
