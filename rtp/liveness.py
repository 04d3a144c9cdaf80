"""Whether the far end is still there: the media time-out, which knows hold, silence and reports.

No packet for ``timeout_s`` ends a call, but not every silence is a death:

| what came last       | RTCP             | it is over                                                        |
|----------------------|------------------|-------------------------------------------------------------------|
| nothing ever         | or not           | ``timeout_s`` after the answer or the end of hold                 |
| sound, keys          | none             | ``timeout_s`` after it                                            |
| sound, keys          | goes on          | ``QUIET_FACTOR`` times that after it: a phone that suppresses     |
|                      |                  | silence, or a path that lets no sound through                     |
| comfort noise (CN)   | none             | ``QUIET_FACTOR`` times that after it: CN may come once a silence  |
| comfort noise (CN)   | goes on          | ``QUIET_FACTOR`` times that after the last of both                |
| anything             | BYE              | as without RTCP                                                   |
| anything             | while on hold    | never (RFC 3264 §8.4)                                             |

RTCP goes on if some came within ``timeout_s``; with less than its interval of up to 7.5 s it keeps nobody alive.
"""

from __future__ import annotations

QUIET_FACTOR = 10


class Liveness:
    """Signs of life of one far end; times in seconds."""

    __slots__ = ("_since", "is_quiet", "reported", "rtp")

    def __init__(self) -> None:
        self.rtp: float | None = None  # the last packet from the right source
        self.reported: float | None = None  # the last RTCP without BYE
        self.is_quiet = False  # the last packet announced silence
        self._since: float | None = None  # since when sound is due

    def restart(self) -> None:
        """Hold has begun or ended: counted from the next question on."""
        self._since = None

    def is_over(self, now: float, timeout_s: float) -> bool:
        """No sign of life for as long as the table says, while sound is due both ways."""
        if self._since is None:
            self._since = now
        last = max(self._since, self.rtp or 0.0)
        has_reports = self.reported is not None and now - self.reported < timeout_s
        if self.rtp is None:
            return now - last >= timeout_s
        if self.is_quiet and self.reported is not None:
            last = max(last, self.reported)
        return now - last >= timeout_s * (QUIET_FACTOR if self.is_quiet or has_reports else 1)
