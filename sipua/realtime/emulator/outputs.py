"""What the core asks its adapter to do. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass

from .wire import Event


@dataclass(frozen=True, slots=True)
class Send:
    """One server event, to be sent as JSON text."""

    event: Event


@dataclass(frozen=True, slots=True)
class SendText:
    """A text frame as it is: what the ``invalid_json`` fault sends."""

    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close the WebSocket with this code (RFC 6455) and reason."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Abort:
    """Break the TCP connection without a close frame."""


Output = Send | SendText | Close | Abort
