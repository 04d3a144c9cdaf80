"""Deletes what is older than it may be: once a day at a quiet hour, by whichever process comes first.

When is a core without clock (``next_run``); what is deleted, and how gently, is ``storage.retention``. A database that
is away is asked again an hour later: nothing depends on the minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from datetime import datetime, time, timedelta, tzinfo

import storage.errors as store
from sipua.ports import Clock
from sipua.retention_settings import RetentionSettings
from storage import retention

log = logging.getLogger(__name__)

AFTER_START = timedelta(minutes=10)
MISSED = timedelta(hours=30)  # since the last run: a night was left out
AGAIN_S = 3600.0
LOOK_S = 900.0  # a clock that is set is noticed
CLOCKS_APART = timedelta(
    minutes=10
)  # the database's is behind ours: by its own nothing of the last day may go


def next_run(now: datetime, last: datetime | None, at: str, zone: tzinfo | None) -> datetime:
    """When to delete next, if it was last done then: the next ``at``, or soon where a night was left out."""
    if last is None or now - last > MISSED:
        return now + AFTER_START
    hour, minute = map(int, at.split(":"))
    local = now.astimezone(zone)
    then = datetime.combine(local.date(), time(hour, minute), local.tzinfo)
    return (
        then
        if then > now
        else datetime.combine(local.date() + timedelta(days=1), time(hour, minute), local.tzinfo)
    )


def befores(days: Mapping[str, int], now: datetime) -> dict[str, datetime]:
    """Up to when the rows of each table go, in the order in which they do."""
    return {
        name: now - timedelta(days=days[name]) - CLOCKS_APART for name in retention.TABLES if days.get(name)
    }


async def purge_all(
    dsn: str, settings: RetentionSettings, now: datetime, *, dry: bool = False, only: Collection[str] = ()
) -> dict[str, int]:
    """Rows by table; stops where another process is at it. Raises StoreError."""
    counts: dict[str, int] = {}
    for table, before in befores(settings.days(), now).items():
        if only and table not in only:
            continue
        found = await retention.purge(dsn, table, before, dry=dry)
        if found is None:
            log.info("another process deletes old rows")
            return counts
        counts[table] = found
    if not dry and not only:
        await retention.purged(dsn, counts)
    return counts


async def keep_young(dsn: str, settings: RetentionSettings, zone: tzinfo | None, clock: Clock) -> None:
    """Until cancelled."""
    due: datetime | None = None
    while settings.days():
        try:
            now = clock.now().wall
            if due is None:
                due = next_run(now, await retention.last_purge(dsn), settings.at, zone)
            if now >= due:
                due = None
                last = await retention.last_purge(dsn)
                if last is None or now - last > timedelta(hours=12):  # else another process did it tonight
                    counts = await purge_all(dsn, settings, now)
                    told = ", ".join(f"{table} {count}" for table, count in counts.items() if count)
                    log.info("old rows deleted: %s", told or "none")
                due = next_run(clock.now().wall, now, settings.at, zone)
        except store.StoreError as error:
            due = None
            log.warning("old rows are deleted later: %s", error)
            await asyncio.sleep(AGAIN_S)
            continue
        left_s = (due - clock.now().wall).total_seconds()
        await asyncio.sleep(min(max(left_s, 1.0), LOOK_S))
