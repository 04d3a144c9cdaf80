"""The file of bearer tokens: one a line, ``NAME ROLES SHA256 [EXPIRES]``; ``#`` begins a comment. No secret is in it.

A token is 256 random bits, so that its SHA-256 gives nothing away and needs no slow hash. The file says who may do
what: it must not be readable by everybody nor writable by others than its owner.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from sipua.errors import ConfigError, LocalError

log = logging.getLogger(__name__)

PREFIX = "sipua_"  # so that scanners for secrets find one that got lost
TOKENS_MAX = 256
LOOK_S = 2.0  # how long a removed token is still good, at most
TOO_OPEN = 0o026  # readable by others; writable by the group or others
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
HEAD = "# NAME ROLES SHA256 [EXPIRES], as `sipua token add`, `list` and `remove` keep it; the token itself is nowhere"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Role(Enum):
    """What a token may do."""

    READ = "read"
    OPERATE = "operate"
    INGEST = "ingest"

    def is_in(self, roles: Iterable[Role]) -> bool:
        """Whether one of ``roles`` is or implies it: who may operate may read."""
        return any(each is self or (each is Role.OPERATE and self is Role.READ) for each in roles)


@dataclass(frozen=True, slots=True)
class Token:
    """One line. ``digest``: SHA-256 of the token, in hex."""

    name: str
    roles: frozenset[Role]
    digest: str
    expires: datetime | None = None

    def is_expired(self, now: datetime) -> bool:
        return self.expires is not None and now >= self.expires

    def line(self) -> str:
        roles = ",".join(sorted(role.value for role in self.roles))
        when = self.expires.astimezone(UTC).strftime(" %Y-%m-%dT%H:%M:%SZ") if self.expires else ""
        return f"{self.name} {roles} {self.digest}{when}"


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def new_token(name: str, roles: frozenset[Role], expires: datetime | None) -> tuple[Token, str]:
    """With the secret, which is nowhere else."""
    secret = PREFIX + secrets.token_urlsafe(32)
    return Token(name, roles, digest_of(secret), expires), secret


def find_token(tokens: Iterable[Token], secret: str) -> Token | None:
    """In a time that does not depend on which it is, or on how much of it is right."""
    given = digest_of(secret)
    found = None
    for token in tokens:
        if hmac.compare_digest(token.digest, given):
            found = token
    return found


def parse_tokens(text: str, where: str) -> tuple[Token, ...]:
    """Raises ConfigError naming the line and what is allowed."""
    found: list[Token] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            token = _token(words)
        except ValueError as error:
            raise ConfigError(f"{where}:{number}: {error}") from None
        for other in found:
            if other.name == token.name:
                raise ConfigError(f"{where}:{number}: the name {token.name} is there twice")
            if other.digest == token.digest:
                raise ConfigError(f"{where}:{number}: {token.name} is the same token as {other.name}")
        found.append(token)
    if len(found) > TOKENS_MAX:
        raise ConfigError(f"{where}: {len(found)} tokens; allowed: {TOKENS_MAX}")
    return tuple(found)


def _token(words: list[str]) -> Token:
    if len(words) not in (3, 4):
        raise ValueError(f"{len(words)} words; expected NAME ROLES SHA256 and perhaps EXPIRES")
    name, roles, digest, *expires = words
    if not NAME.fullmatch(name):
        raise ValueError("the name may have 64 letters, digits and . _ @ -")
    if not _DIGEST.fullmatch(digest):  # not shown: people paste the token itself there
        raise ValueError(f"{name}: the third word is not the SHA-256 of a token (64 lower-case hex digits)")
    return Token(name, roles_of(roles.split(",")), digest, expiry_of(expires[0]) if expires else None)


def roles_of(names: Iterable[str]) -> frozenset[Role]:
    """Raises ValueError naming what is allowed."""
    try:
        return frozenset(Role(name) for name in names)
    except ValueError as error:
        raise ValueError(f"{error}; allowed: {', '.join(role.value for role in Role)}") from None


def expiry_of(text: str) -> datetime:
    """Raises ValueError."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; expected one such as 2027-01-31T00:00:00Z") from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def load_tokens(file: Path) -> tuple[Token, ...]:
    """Raises ConfigError for what cannot be read, is open to others, or has a fault."""
    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode & 0o777
            data = stream.read(1 << 20)
        text = data.decode()
    except FileNotFoundError:
        raise ConfigError(
            f"http.tokens_file: {file}: there is no such file; `sipua token add` makes it"
        ) from None
    except OSError as error:
        raise ConfigError(f"http.tokens_file: {file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"http.tokens_file: {file}: is no UTF-8 text") from None
    if mode & TOO_OPEN:
        raise ConfigError(
            f"http.tokens_file: {file}: has mode {mode:04o}; allowed: 0600 or 0640 (chmod 600 {file})"
        )
    return parse_tokens(text, str(file))


def save_lines(file: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Writes the file anew as ``change`` makes it, whole or not at all; comments and order stay. LocalError."""
    try:
        lines = file.read_text("utf-8").splitlines() if file.exists() else [HEAD]
        file.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp: 0600 from the beginning; owner and mode of a file that was there stay
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                if file.exists():
                    former = file.stat()
                    os.fchmod(stream.fileno(), former.st_mode & 0o777)
                    if os.geteuid() == 0:
                        os.fchown(stream.fileno(), former.st_uid, former.st_gid)
                stream.writelines(f"{line}\n" for line in change(lines))
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(name, file)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise LocalError(f"{file}: cannot be written: {error.strerror}") from None


def token_file(name: str) -> TokenFile | None:
    """Of the setting http.tokens_file. Raises ConfigError."""
    return TokenFile(Path(name).expanduser()) if name else None


class TokenFile:
    """``tokens`` are those in force. ``follow`` reads them again when the file changes or ``asked`` is set."""

    def __init__(self, file: Path) -> None:
        """Raises ConfigError."""
        self.asked = asyncio.Event()
        self._file = file
        self._seen = _stamp(file)
        self.tokens = load_tokens(file)

    async def follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self.asked.wait()
            except TimeoutError:
                pass
            stamp = await asyncio.to_thread(_stamp, self._file)
            if stamp == self._seen and not self.asked.is_set():
                continue
            self.asked.clear()
            self._seen = stamp
            try:
                self.tokens = await asyncio.to_thread(load_tokens, self._file)
            except ConfigError as error:
                log.error("tokens were not read again, the old ones stay: %s", error)
            else:
                log.info("tokens read again: %d", len(self.tokens))


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode
