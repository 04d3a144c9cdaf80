"""Where recordings go: written to and deleted from, as the recorder and the keeper will."""

from __future__ import annotations

import asyncio
import shutil

from sipua.checks.report import Check
from sipua.errors import ConfigError
from sipua.recording_store import FolderStore, StoreRefused, store_of
from sipua.settings import Settings

PATIENCE_S = 20.0
MENDS = {
    True: "check recording.s3_endpoint, s3_region, s3_bucket and the keys: they must be able to put, list and delete",
    False: "make the folder writable for the user of `sipua serve`, or set recording.dir",
}


async def recordings(settings: Settings) -> Check | None:
    """None where nothing is recorded."""
    chosen = settings.recording
    if not chosen.enabled:
        return None
    where = []
    is_bucket = False
    try:
        async with asyncio.timeout(PATIENCE_S):
            where.append(await FolderStore(settings.recordings_path).check())
            if chosen.s3_bucket:
                is_bucket = True
                where.append(f"moved to {await store_of(settings).check()}")
    except ConfigError as error:
        return Check("recordings", "fail", str(error), "mend recording.s3_secret_key_file", True)
    except StoreRefused as error:
        return Check("recordings", "fail", str(error), MENDS[is_bucket])
    except TimeoutError:
        return Check("recordings", "fail", f"no answer within {PATIENCE_S:g} s", MENDS[is_bucket])
    free_mb = shutil.disk_usage(settings.recordings_path).free >> 20
    where.append(f"kept for {chosen.keep_days} days" if chosen.keep_days else "kept for ever")
    if free_mb < chosen.min_free_mb:
        todo = "make room, or lower recording.min_free_mb"
        return Check("recordings", "warn", f"{where[0]}: {free_mb} MB free: nothing is recorded", todo)
    return Check("recordings", "ok", ", ".join(where))
