"""What becomes of OpenAI's webhooks: each is taken once; calls that come in at OpenAI are left, refused or taken.

That one has been here is known by its id: in this process from memory, of others and of the time before from the
database, which is asked for a second at most. Where it does not answer the webhook counts as new: a call that is not
answered is worse than a question twice, and the service accepts a call only once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol
from uuid import UUID

from sipua.errors import RemoteError
from sipua.openai_webhook import TRUNK, Incoming, Told, opening_of
from sipua.outcome import OPERATOR_HUNG_UP, OPERATOR_HUNG_UP_RINGING, Ending, ending_of_code
from sipua.ports import CallOpening, CallRecord, Moment
from sipua.sideband_call import SidebandCall, SidebandServices
from sipua.sip_message import mask_number

log = logging.getLogger(__name__)

KNOWN_MAX = 10_000  # ids of webhooks; OpenAI repeats one for 72 hours
REFUSALS_MAX = 64  # under way at once; beyond it the caller hears ringing until the carrier gives up

Claim = Callable[[Told, Moment], Awaitable[bool | None]]  # whether it is new; None: nobody knows


class Ledger(Protocol):
    """``sipua.ledger.Ledger``, as far as it is needed here."""

    def open(self, opening: CallOpening, at: Moment) -> CallRecord: ...
    def refused(self, opening: CallOpening, at: Moment, ending: Ending) -> None: ...
    def webhook(self, told: Told, at: Moment, outcome: str, *, call_id: UUID | None = None) -> None: ...


class OpenAILine:
    """One per process. ``received`` for each webhook that is signed, ``end_all`` before the ledger ends."""

    def __init__(
        self, services: SidebandServices, ledger: Ledger, claim: Claim, is_draining: Callable[[], bool]
    ) -> None:
        self._services = services
        self._settings = services.settings
        self._ledger = ledger
        self._claim = claim
        self._is_draining = is_draining
        self._known: OrderedDict[str, None] = OrderedDict()
        self._calls: dict[UUID, SidebandCall] = {}
        self._refusals = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_ending = False

    @property
    def calls_up(self) -> int:
        return len(self._calls)

    def call_ids(self) -> frozenset[str]:
        """Of the calls that are up."""
        return frozenset(map(str, self._calls))

    def hang_up(self, id: UUID) -> bool:
        """An operator ends a call; False: it is not up here."""
        call = self._calls.get(id)
        if call is None:
            return False
        log.info("call=%s is ended by an operator", id)
        call.stop(OPERATOR_HUNG_UP, OPERATOR_HUNG_UP_RINGING)
        return True

    async def received(self, told: Told) -> str:
        """What is made of it: accepted, rejected, ignored, noted or duplicate."""
        outcome = "duplicate"
        if told.id not in self._known:
            self._remember(told.id)
            if await self._claim(told, self._now()) is not False:
                outcome = self._taken(told)
        self._services.metrics.webhooks.labels(told.label, outcome).inc()
        log.info("webhook %s %s: %s", told.id, told.label, outcome)
        return outcome

    async def end_all(self) -> None:
        """Hangs up every call and waits until each has closed its row."""
        self._is_ending = True
        for call in list(self._calls.values()):
            call.stop()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _remember(self, id: str) -> None:
        self._known[id] = None
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    def _taken(self, told: Told) -> str:
        incoming = told.incoming
        if incoming is None:
            outcome, call_id = "noted", None
        elif self._settings.incoming == "ignore":
            outcome, call_id = "ignored", None
        elif incoming.id in self._calls:
            outcome, call_id = "noted", incoming.id  # another webhook about it
        else:
            outcome, call_id = self._decided(incoming), incoming.id
        self._ledger.webhook(told, self._now(), outcome, call_id=call_id)
        return outcome

    def _decided(self, incoming: Incoming) -> str:
        opening = opening_of(incoming)
        if self._settings.incoming == "reject":
            return self._refuse(opening, self._settings.reject_code, "")
        if self._is_ending or self._is_draining():
            return self._refuse(opening, self._settings.busy_code, "the process is ending")
        if len(self._calls) >= self._settings.max_calls:
            return self._refuse(opening, self._settings.busy_code, f"{len(self._calls)} calls are up")
        record = self._ledger.open(opening, self._now())
        call = self._calls[record.id] = SidebandCall(record, self._services)
        log.info("call=%s < %s from %s", record.id, TRUNK, mask_number(opening.from_number))
        self._start(self._run(call), f"call-{record.id}")
        return "accepted"

    def _refuse(self, opening: CallOpening, code: int, why: str) -> str:
        ending = ending_of_code(code, why)
        self._ledger.refused(opening, self._now(), ending)
        self._services.metrics.calls.labels("inbound", TRUNK, ending.status.value, ending.reason).inc()
        if self._refusals < REFUSALS_MAX:
            self._refusals += 1
            self._start(self._reject(opening, code), f"refuse-{opening.id}")
        return "rejected"

    async def _reject(self, opening: CallOpening, code: int) -> None:
        try:
            await self._services.calls.reject(opening.openai_call_id, code)
        except RemoteError as error:
            log.warning("call=%s could not be refused: %s", opening.id, error)
        finally:
            self._refusals -= 1

    async def _run(self, call: SidebandCall) -> None:
        try:
            ending = await call.run()
            log.info("call=%s ended: %s (%s)", call.record.id, ending.status.value, ending.reason)
        except Exception:
            log.exception("call=%s failed by a bug", call.record.id)
        finally:
            del self._calls[call.record.id]

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _now(self) -> Moment:
        return self._services.clock.now()
