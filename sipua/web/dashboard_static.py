"""The files of the dashboard's page: read once, served from memory, with the rules that a browser must hold it to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from fastapi import Request, Response

from sipua.web.problem import Problem

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
INDEX = "index.html"
# Scripts, styles and requests of our own origin only; no inline ones, no way from a text to HTML, no frame around it.
POLICY = (
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
    "form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",  # of what is no page
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",  # asked for each time, and not sent where it is the same
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    type: str
    tag: str


class Pages:
    """The files by name; no other is there, whatever path is asked for. ``media``: where else recordings may come from,
    as Content-Security-Policy names it.
    """

    def __init__(self, media: str = "") -> None:
        policy = "; ".join((*POLICY, f"media-src 'self' {media}".strip()))
        self._headers = HEADERS | {"Content-Security-Policy": policy}
        self._files = {
            each.name: _file(each.name, each.read_bytes())
            for each in (files("sipua.web") / "static").iterdir()
            if _suffix(each.name) in TYPES
        }

    def answer(self, name: str, request: Request) -> Response:
        """Problem 404."""
        file = self._files.get(name)
        if file is None:
            raise Problem(404, "there is no such file")
        headers = self._headers | {"ETag": file.tag}
        if request.headers.get("If-None-Match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.body, media_type=file.type, headers=headers)


def _file(name: str, body: bytes) -> _File:
    return _File(body, TYPES[_suffix(name)], f'"{hashlib.sha256(body).hexdigest()[:16]}"')


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
