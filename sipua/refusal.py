"""What a caller hears whom the voice service refuses to serve (quota, key): an apology, then a person or the end.

All of it are recordings of ours, in the caller's language. Nobody reconnects: the next session would be refused too.
"""

from __future__ import annotations

import asyncio
import logging

from sipua.call_control import TransferPort
from sipua.call_leg import CallOver
from sipua.call_transfer import BYE_S
from sipua.errors import RealtimeRefused
from sipua.metrics import Metrics
from sipua.outcome import TRANSFERRED
from sipua.ports import Announcements, CallRecord, Clock
from sipua.tools.schema import ToolError

log = logging.getLogger(__name__)

REASON = "the voice service is not available"  # why, for the ledger


async def apologise(
    error: RealtimeRefused,
    announcer: Announcements,
    transfer: TransferPort | None,
    department: str,
    record: CallRecord,
    metrics: Metrics,
    clock: Clock,
    bye_s: float = BYE_S,
) -> None:
    """CallOver once the caller talks with a person; returns when the call is to end by ``error``."""
    log.error("call=%s the voice service refuses us: %s", record.id, error)
    metrics.realtime_errors.labels(error.reason).inc()
    record.error(clock.now(), error.reason, str(error))
    error.is_recorded = True
    if transfer is None or not department:
        await announcer.close_with("service_error")
        return
    transfer.has_agent = False
    await announcer.close_with("assistant_away")
    try:
        result = await transfer.to(department, REASON)
    except ToolError as failure:
        log.warning("call=%s nobody takes over: %s", record.id, failure)
        await announcer.close_with("goodbye")
        return
    if result["status"] == "closed":
        await announcer.close_with("closed")
        return
    if transfer.is_joined:
        await transfer.follow()
    await asyncio.sleep(bye_s)  # theirs comes first, mostly
    raise CallOver(TRANSFERRED)
