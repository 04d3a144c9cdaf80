"""A start while the database is away: allowed where it fitted the last time; rows stay in the spool until then.

Then it is looked at as at any start (migrations, types, rights) before the first row is written; one that does not fit
any more is said by /readyz, log and alert, and nothing is lost meanwhile. A database that this machine has never
written into is refused as ever: its address may be wrong, and nobody would know.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable

import storage.errors as store
from sipua.errors import SipuaError
from sipua.settings import Settings
from storage.dsn import redact
from storage.gate import Gate

log = logging.getLogger(__name__)

KNOWN = "database.known"  # in the state directory: where the rows went the last time
PAUSE_MIN_S, PAUSE_MAX_S = 0.5, 15.0
AWAY_MAX_S = 2.0  # while nobody answers: a look costs nothing then, and the rows are to be there soon after


def remember(settings: Settings, dsn: str) -> None:
    """It fits. A folder that cannot be written costs no more than a start without it."""
    file = settings.state_path / KNOWN
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_name(f".{KNOWN}.{os.getpid()}")
        scratch.write_text(f"{redact(dsn)}\n")
        scratch.replace(file)


def may_wait(settings: Settings, dsn: str, error: store.StoreError) -> bool:
    """Whether the rows can stay in the spool until this passes."""
    if not isinstance(error, store.DatabaseUnreachable) or not error.retryable or settings.spool_path is None:
        return False
    try:
        return (settings.state_path / KNOWN).read_text().strip() == redact(dsn)
    except OSError:
        return False


async def open_when_fit(
    gate: Gate, look: Callable[[], Awaitable[None]], pause_s: float = PAUSE_MIN_S
) -> None:
    """``look`` raises while it does not fit; the first time that it does not raise the gate opens."""
    said = ""
    while True:
        try:
            await look()
            break
        except (store.StoreError, SipuaError) as error:
            gate.why = str(error)
            longest_s = AWAY_MAX_S if isinstance(error, store.DatabaseUnreachable) else PAUSE_MAX_S
        if gate.why != said:
            said = gate.why
            log.error("calls are taken, their rows wait in the spool: %s", said)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, longest_s)
    gate.open()
    log.warning("the database is there and fits: what waited is written")
