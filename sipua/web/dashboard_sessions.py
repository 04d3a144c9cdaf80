"""Logins of the dashboard: a cookie stands for a token while both are good. In memory: a restart ends them.

A session is known by the SHA-256 of its cookie and holds that of its token, so that neither is to be read here, and
ends when the token leaves the file or expires. What a cookie is used for must come from our own page: a request that
changes something needs a header that no form and no foreign page can send, and the browser's word where it was made.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request, Response

from sipua.ports import Clock
from sipua.web.guard import Principal, TokenSource
from sipua.web.problem import Problem
from sipua.web.tokens import digest_of

COOKIE = "sipua_session"
BELOW = "/dashboard/"  # what a session is good for
HEADER = "X-Sipua-Dashboard"  # a foreign page cannot send it without being asked first (CORS), which is never granted
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOGINS_MAX = 16  # of one token; the one that was used least lately makes room


@dataclass(slots=True)
class _Login:
    token: str
    began: float
    used: float


class SessionBook:
    """The sessions. No I/O; ``now`` in seconds."""

    def __init__(self, idle_s: float, longest_s: float, logins_max: int = LOGINS_MAX) -> None:
        self._idle_s = idle_s
        self._longest_s = longest_s
        self._most = logins_max
        self._logins: OrderedDict[str, _Login] = OrderedDict()  # by the key of the cookie, used lately last

    def __len__(self) -> int:
        return len(self._logins)

    def open(self, token: str, now: float) -> str:
        """A cookie for the token of that digest."""
        self._forget(now)
        same = [key for key, login in self._logins.items() if login.token == token]
        for key in same[: max(0, len(same) + 1 - self._most)]:
            del self._logins[key]
        cookie = secrets.token_urlsafe(32)
        self._logins[digest_of(cookie)] = _Login(token, now, now)
        return cookie

    def token(self, key: str, now: float, *, uses: bool) -> str | None:
        """The digest of its token; ``uses``: this counts as being used."""
        login = self._logins.get(key)
        if login is None:
            return None
        if self._is_over(login, now):
            del self._logins[key]
            return None
        if uses:
            login.used = now
            self._logins.move_to_end(key)
        return login.token

    def close(self, key: str) -> None:
        self._logins.pop(key, None)

    def _is_over(self, login: _Login, now: float) -> bool:
        return now - login.used >= self._idle_s or now - login.began >= self._longest_s

    def _forget(self, now: float) -> None:
        for key in [key for key, login in self._logins.items() if self._is_over(login, now)]:
            del self._logins[key]


class CookieSessions:
    """``sipua.web.guard.Sessions``."""

    def __init__(self, book: SessionBook, tokens: TokenSource, clock: Clock, *, secure: bool) -> None:
        self._book = book
        self._tokens = tokens
        self._clock = clock
        self._secure = secure

    def principal(self, request: Request) -> Principal | None:
        key = key_of(request) if request.url.path.startswith(BELOW) else ""
        who = self.holder(key, uses=True) if key else None
        if who is not None and request.method not in SAFE:
            must_be_our_page(request)
        return who

    def holder(self, key: str, *, uses: bool = False) -> Principal | None:
        """Who the session of that key is, while it lasts."""
        now = self._clock.now()
        digest = self._book.token(key, now.monotonic, uses=uses)
        if digest is None:
            return None
        for token in self._tokens.tokens:
            if token.digest == digest and not token.is_expired(now.wall):
                return Principal(token.name, token.roles)
        self._book.close(key)
        return None

    def begin(self, secret: str, request: Request, response: Response) -> None:
        """A login with a token that is good: its cookie is set on ``response``."""
        cookie = self._book.open(digest_of(secret), self._clock.now().monotonic)
        self._set(response, cookie, request)

    def end(self, request: Request, response: Response) -> None:
        if key := key_of(request):
            self._book.close(key)
        self._set(response, "", request, max_age=0)

    def _set(self, response: Response, cookie: str, request: Request, max_age: int | None = None) -> None:
        """Without a path: the browser takes that of the dashboard, below whatever a proxy has put it."""
        secure = self._secure or request.url.scheme == "https"
        response.set_cookie(
            COOKIE, cookie, max_age, path=None, secure=secure, httponly=True, samesite="strict"
        )


def key_of(request: Request) -> str:
    """What its cookie is known by; "" without one."""
    cookie = request.cookies.get(COOKIE, "")
    return digest_of(cookie) if cookie else ""


def must_be_our_page(request: Request) -> None:
    """Problem 403 for a request that another site may have made a browser send."""
    site = request.headers.get("Sec-Fetch-Site")  # by https and localhost only
    if site is not None:
        foreign = site != "same-origin"
    else:
        origin = request.headers.get("Origin")
        foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("Host", "")
    if foreign or HEADER not in request.headers:
        raise Problem(
            403, f"a session is for the dashboard's own page, which sends {HEADER}", reason="foreign_page"
        )
