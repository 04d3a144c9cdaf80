"""Whether a number may be called now: the do-not-call list, calling hours, and how often it was called today.

``check`` before the call, ``began`` when it is placed. Calls of today are counted here and read from the ledger; the
larger number counts, since a row is written a little later. A ledger that does not answer does not keep anybody from
calling; a do-not-call list that cannot be read does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import date, datetime
from pathlib import Path

from sipua.calling_hours import CallingHours
from sipua.errors import ConfigError, LocalError
from sipua.sip_message import mask_number
from sipua.trunks.numbers import NumberSet

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 2.0
COUNTED_MAX = 100_000  # numbers; the one that was called longest ago goes
LIST_MAX_BYTES = 32 * 1024 * 1024
# calls to a number since then, as the ledger has them; None: it does not answer
Counted = Callable[[str, datetime], Awaitable[int | None]]


class DialRefused(LocalError):
    """A rule of ours keeps the number from being called."""

    reason = "dial_refused"


class OutsideHours(DialRefused):
    """It is too early or too late there."""

    reason = "outside_calling_hours"


class OnTheList(DialRefused):
    """Its owner does not want to be called; not even by force."""

    reason = "do_not_call"


class TooOften(DialRefused):
    """It has been called often enough today."""

    reason = "too_many_attempts"


class DoNotCall:
    """The numbers of a file; "": there is none. Raises ConfigError naming file and line."""

    def __init__(self, file: str) -> None:
        self._path = Path(file).expanduser() if file else None
        self._stamp: tuple[int, int] | None = None
        self._numbers: frozenset[str] = frozenset()
        self._patterns = NumberSet()
        self._read()

    @property
    def count(self) -> int:
        """Numbers and patterns."""
        return len(self._numbers) + len(self._patterns.patterns)

    def includes(self, number: str) -> bool:
        """As the file is now."""
        self._read()
        return number in self._numbers or number in self._patterns

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            state = self._path.stat()
            stamp = (state.st_mtime_ns, state.st_size)
            if stamp == self._stamp:
                return
            if state.st_size > LIST_MAX_BYTES:
                raise ConfigError(f"{self._path}: {state.st_size} bytes; allowed: {LIST_MAX_BYTES}")
            text = self._path.read_text("utf-8")
        except OSError as error:
            self._stamp = None
            raise ConfigError(
                f"outbound.do_not_call: {self._path}: cannot be read: {error.strerror}"
            ) from None
        except UnicodeDecodeError:
            raise ConfigError(f"outbound.do_not_call: {self._path}: not UTF-8 text") from None
        numbers, patterns = set(), []
        for count, line in enumerate(text.splitlines(), 1):
            entry = line.partition("#")[0].strip()
            if not entry:
                continue
            try:
                NumberSet((entry,))
            except ValueError as error:
                raise ConfigError(f"outbound.do_not_call: {self._path}:{count}: {error}") from None
            numbers.add(entry) if entry[1:].isdecimal() else patterns.append(entry)
        self._numbers, self._patterns, self._stamp = frozenset(numbers), NumberSet(tuple(patterns)), stamp


class DialRules:
    """Of one process. ``attempts_per_day`` 0: as often as one likes."""

    def __init__(
        self,
        hours: CallingHours,
        do_not_call: DoNotCall,
        attempts_per_day: int,
        counted: Counted,
        *,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._hours = hours
        self._do_not_call = do_not_call
        self._most = attempts_per_day
        self._counted = counted
        self._read_timeout_s = read_timeout_s
        self._calls: OrderedDict[str, tuple[date, int]] = OrderedDict()

    async def check(self, number: str, now: datetime, *, force: bool) -> str:
        """Raises DialRefused; with ``force`` what was overridden, "" if nothing had to be."""
        shown = mask_number(number)
        # a list that has changed is read again: 1.5 s for a million numbers
        if await asyncio.to_thread(self._do_not_call.includes, number):
            raise OnTheList(f"{shown} is on the do-not-call list; nothing overrides that")
        overridden = []
        why_not = self._hours.why_not(number, now)
        if why_not:
            if not force:
                raise OutsideHours(f"{shown}: {why_not}; --force calls nevertheless")
            overridden.append(why_not)
        calls = await self._calls_today(number, now)
        if self._most and calls >= self._most:
            often = f"called {calls} times today, allowed are {self._most}"
            if not force:
                raise TooOften(f"{shown}: {often}; --force calls nevertheless")
            overridden.append(often)
        return "; ".join(overridden)

    def began(self, number: str, now: datetime) -> None:
        """It is being called."""
        self._calls[number] = self._hours.today(number, now), self._own(number, now) + 1
        self._calls.move_to_end(number)
        if len(self._calls) > COUNTED_MAX:
            self._calls.popitem(last=False)

    def _own(self, number: str, now: datetime) -> int:
        day, calls = self._calls.get(number, (None, 0))
        return calls if day == self._hours.today(number, now) else 0

    async def _calls_today(self, number: str, now: datetime) -> int:
        if not self._most:
            return 0
        written: int | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._read_timeout_s):
                written = await self._counted(number, self._hours.midnight(number, now))
        if written is None:
            log.warning("the ledger does not tell how often a number was called today: our own count serves")
        return max(written or 0, self._own(number, now))
