"""The tree of errors. Lower libraries' errors are mapped into it once, at the border where they appear.

``ConfigError`` is the operator's to mend (exit 78, EX_CONFIG of sysexits.h); ``LocalError`` is ours;
``RemoteError`` is the other side's; ``StoreError`` is the database's. ``retryable`` says whether trying the
same thing again can help; ``reason`` is a short snake_case word for rows and metrics.
"""

from __future__ import annotations


class SipuaError(Exception):
    """Base of every error this package raises on purpose."""

    retryable = False
    reason = "error"


class ConfigError(SipuaError):
    """A setting is wrong: names the file (or environment name), the key, the value and what is allowed."""

    reason = "config"


class LocalError(SipuaError):
    """Something on this machine refused: a port in use, a file that cannot be read, a full queue."""

    reason = "local"


class Stopped(LocalError):
    """A command was told to stop before it had its result: no fault, but no success either (exit 1)."""

    reason = "stopped"


class RemoteError(SipuaError):
    """The peer (SIP, RTP or voice service) did something that ends or changes the call."""

    reason = "remote"


class MediaTimeout(RemoteError):
    """No RTP for longer than the trunk's ``rtp_timeout_s`` while the call was not on hold."""

    reason = "rtp_timeout"


class RealtimeError(RemoteError):
    """Base of what the voice service can do to us; ``code`` is the service's own error code if it gave one.

    ``http_status`` 0: it was no answer by HTTP.
    """

    reason = "realtime"
    http_status = 0

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class RealtimeUnreachable(RealtimeError):
    """No connection: DNS, refused, TLS, time-out at the upgrade."""

    retryable = True
    reason = "realtime_unreachable"


class RealtimeRefused(RealtimeError):
    """The service refuses us for good: key, quota, account, model, beta shape. Never retried; alert."""

    reason = "realtime_refused"
    is_recorded = False  # before the apology, which the caller may not wait for


class RealtimeRejectedConfig(RealtimeError):
    """A ``session.update`` was refused, or its echo is not what we asked for."""

    reason = "realtime_rejected_config"


class RealtimeClosed(RealtimeError):
    """The connection ended while it was in use (``close_code`` as of RFC 6455, 0 if there was no close frame)."""

    retryable = True
    reason = "realtime_closed"

    def __init__(self, message: str, *, close_code: int = 0, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.close_code = close_code


class RealtimeTooSlow(RealtimeClosed):
    """The service takes less audio than is spoken: whatever it answers comes too late, and later each time."""

    reason = "realtime_too_slow"


class RealtimeDeaf(RealtimeClosed):
    """The session is open, the caller speaks, and the service does not notice."""

    reason = "realtime_deaf"


class StoreError(SipuaError):
    """The database refused or is gone."""

    retryable = True
    reason = "store"
