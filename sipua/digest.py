"""Digest of those who call us (RFC 7616, RFC 8760): the challenge, and whether what comes back proves the user. No I/O.

A nonce carries its own age: milliseconds, a count and an HMAC of both under a secret of this process, so that a
challenge costs no memory and a flood of them nothing. Memory is spent only on nonces that a right password has used:
the highest nonce count of each, so that nothing heard on the wire is good twice. When that memory is full, every nonce
as old as the one that falls out counts as expired, and its user is asked again with ``stale=true``.

No credentials, an unknown user and a wrong password get the same challenge at the same cost.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from sipua.sip_events import Credential
from sipua.sip_message import parse_uri

REALM = "sipua"
NONCE_LIFETIME_S = 60.0  # from the challenge to its answer; a person types no password meanwhile
REMEMBERED = 4096  # nonces in use
HEADER_CHARACTERS = 4096

Algorithm = Literal["SHA-256", "MD5"]

_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
_SEAL_BYTES = 16
_STAMP_BYTES = 12  # 8 of milliseconds, 4 of the count
_PARAMETER = re.compile(r'\s*([A-Za-z0-9!%*_+`\'~.-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*(?:,|$)')
_NONCE_COUNT = re.compile(r"[0-9A-Fa-f]{8}")


class Proof(Enum):
    """What an INVITE proves of its sender."""

    PROVEN = "proven"
    NOT_TRIED = "no credentials"
    STALE = "right password, but a nonce that has expired or been used"
    WRONG = "wrong user, password or digest"


@dataclass(frozen=True, slots=True)
class Request:
    """What a digest speaks of; ``credentials`` are the Authorization values, ``algorithms`` those that we offer."""

    method: str
    uri: str
    credentials: tuple[str, ...]
    algorithms: tuple[Algorithm, ...]


def response_of(algorithm: str, credential: Credential, method: str, given: Mapping[str, str]) -> str:
    """The ``response`` with qop=auth (RFC 7616 section 3.4.1) to what ``given`` names: uri, nonce, nc, cnonce, qop."""

    def hashed(*parts: str) -> str:
        return _HASHES[algorithm](_bytes(":".join(parts))).hexdigest()

    ours = hashed(credential.user, credential.realm, credential.password)
    asked = hashed(method, given["uri"])
    return hashed(ours, given["nonce"], given["nc"], given["cnonce"], given["qop"], asked)


def parse_credentials(value: str) -> dict[str, str]:
    """The parameters of a Digest Authorization by lower-case name; empty if it is none, or malformed."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest" or len(value) > HEADER_CHARACTERS:
        return {}
    found: dict[str, str] = {}
    at = 0
    while at < len(rest):
        match = _PARAMETER.match(rest, at)
        if match is None or match[1].lower() in found:
            return {}
        quoted, token = match[2], match[3]
        found[match[1].lower()] = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        at = match.end()
    return found


class Digest:
    """Asks and judges for one process. ``secret`` is random and never leaves it; ``now`` is any steady clock."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._issued = 0
        self._counts: dict[str, int] = {}  # highest nonce count by nonce, oldest nonce first used first
        self._expired_until_ms = -1  # nonces as old as this one are no longer remembered

    def challenge(
        self, algorithms: Sequence[Algorithm], now: float, *, stale: bool
    ) -> tuple[tuple[str, str], ...]:
        """The WWW-Authenticate headers of a 401, one per algorithm, the preferred first (RFC 8760 section 2.4)."""
        self._issued = (self._issued + 1) % 2**32
        stamp = int(now * 1000).to_bytes(8) + self._issued.to_bytes(4)
        nonce = urlsafe_b64encode(stamp + self._seal(stamp)).decode()
        tail = ", stale=true" if stale else ""
        return tuple(
            (
                "WWW-Authenticate",
                f'Digest realm="{REALM}", nonce="{nonce}", algorithm={name}, qop="auth"{tail}',
            )
            for name in algorithms
        )

    def judge(self, request: Request, credential: Credential, now: float) -> Proof:
        """What the request proves. A proof counts once: the nonce count is remembered."""
        given = _ours(request.credentials)
        if not given:
            return Proof.NOT_TRIED
        if not _is_right(given, request, credential):
            return Proof.WRONG
        return Proof.PROVEN if self._is_fresh(given["nonce"], int(given["nc"], 16), now) else Proof.STALE

    def _seal(self, stamp: bytes) -> bytes:
        return hmac.digest(self._secret, stamp, "sha256")[:_SEAL_BYTES]

    def _is_fresh(self, nonce: str, count: int, now: float) -> bool:
        try:
            raw = urlsafe_b64decode(nonce.encode())
        except ValueError:
            return False
        stamp, seal = raw[:_STAMP_BYTES], raw[_STAMP_BYTES:]
        if not hmac.compare_digest(self._seal(stamp), seal) or urlsafe_b64encode(raw).decode() != nonce:
            return False
        issued_ms = int.from_bytes(stamp[:8])
        oldest_ms = max(int((now - NONCE_LIFETIME_S) * 1000), self._expired_until_ms)
        if issued_ms <= oldest_ms or count <= self._counts.get(nonce, 0):
            return False
        self._remember(nonce, count)
        return True

    def _remember(self, nonce: str, count: int) -> None:
        self._counts[nonce] = count
        if len(self._counts) > REMEMBERED:
            forgotten = next(iter(self._counts))
            del self._counts[forgotten]
            issued_ms = int.from_bytes(urlsafe_b64decode(forgotten)[:8])
            self._expired_until_ms = max(self._expired_until_ms, issued_ms)


def _ours(credentials: Sequence[str]) -> dict[str, str]:
    """Those that answer our realm: a message may carry others for proxies on its way."""
    parsed = (parse_credentials(value) for value in credentials)
    return next((each for each in parsed if each.get("realm") == REALM), {})


def _is_right(given: Mapping[str, str], request: Request, credential: Credential) -> bool:
    """User, response and URI. All of it is computed whatever is wrong, so that the time tells nothing."""
    algorithm = given.get("algorithm", "MD5").upper()
    is_complete = (
        {"username", "uri", "nonce", "nc", "cnonce", "qop", "response"} <= given.keys()
        and algorithm in request.algorithms
        and given["qop"] == "auth"
        and _NONCE_COUNT.fullmatch(given["nc"]) is not None
    )
    if not is_complete:  # told by the header's form alone
        return False
    is_user = _is_same(given["username"], credential.user)
    is_response = _is_same(
        given["response"].lower(), response_of(algorithm, credential, request.method, given)
    )
    return is_user & is_response & _is_same_place(given["uri"], request.uri)


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(_bytes(given), _bytes(expected))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # whatever a peer sends


def _is_same_place(given: str, asked: str) -> bool:
    """Whether both URIs are about one user at one host (RFC 7616 section 3.4.6); parameters may differ."""
    one, other = parse_uri(given), parse_uri(asked)
    if one is None or other is None:
        return False
    return (one.scheme, one.user, one.host.lower(), one.port) == (
        other.scheme, other.user, other.host.lower(), other.port,
    )  # fmt: skip
