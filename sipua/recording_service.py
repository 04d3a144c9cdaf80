"""Recorder, store and keeper as the settings want them, for as long as the process takes calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from sipua.call_consent import ConsentPolicy
from sipua.metrics import Metrics
from sipua.ports import Clock
from sipua.recorder import Recorder
from sipua.recording_keeper import Keeper, KeptLedger
from sipua.recording_store import store_of
from sipua.settings import Settings
from sipua.tasks import tell_of_a_bug

log = logging.getLogger(__name__)

LAST_MOVE_S = 5.0  # for what is finished when the process ends; the rest is moved after its next start


@contextlib.asynccontextmanager
async def recording_calls(
    settings: Settings, ledger: KeptLedger, metrics: Metrics, clock: Clock
) -> AsyncIterator[Recorder | None]:
    """None where nothing is recorded. To be left after the last call and before the ledger. Raises ConfigError.

    What was recorded once is moved and gets old all the same.
    """
    chosen = settings.recording
    if not (chosen.enabled or chosen.s3_bucket or settings.recordings_path.is_dir()):
        yield None
        return
    keeper = Keeper(
        settings.recordings_path,
        store_of(settings),
        ledger,
        keep_days=chosen.keep_days,
        spool_bytes=chosen.spool_mb << 20,
        now=lambda: clock.now().wall,
        on_refused=metrics.recording_failed,
    )
    recorder = Recorder(
        settings.recordings_path,
        metrics,
        min_free_mb=chosen.min_free_mb,
        refusal=keeper.refusal,
        format=chosen.format,
    )
    recorder.on_closed = keeper.woken.set
    metrics.standing.reads(
        {
            "sipua_recording_queue_blocks": lambda: recorder.waiting,
            "sipua_recording_spool_bytes": lambda: keeper.waiting_bytes,
        }
    )
    recorder.start()
    keeping = asyncio.create_task(keeper.run(), name="recordings")
    keeping.add_done_callback(tell_of_a_bug)
    try:
        yield recorder if chosen.enabled else None
    finally:
        await recorder.stop()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_MOVE_S):
                await keeper.settle()


def consent_policy(settings: Settings, recorder: Recorder | None) -> ConsentPolicy | None:
    """None where nothing depends on the caller's consent."""
    consent = settings.consent
    withholds = consent.transcripts == "with_consent"
    if recorder is None and not withholds:
        return None
    return ConsentPolicy(
        answer_s=consent.answer_s,
        recorder=recorder,
        withholds_transcripts=withholds,
        deletes_withdrawn=consent.on_withdrawal == "delete",
    )
