"""Placing calls that somebody asks for: checks what is asked and what the rules say, then the switchboard dials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sipua.call import Call
from sipua.calling_hours import CallingHours
from sipua.dial_request import DialRequest
from sipua.dial_rules import DialRefused, DialRules, DoNotCall
from sipua.dialler import Dialler
from sipua.errand import Errand
from sipua.errors import ConfigError
from sipua.instructions import parse
from sipua.languages import Languages
from sipua.metrics import Metrics
from sipua.outcome import Status
from sipua.placed import Placed
from sipua.ports import Clock
from sipua.settings import Settings
from sipua.switchboard import Switchboard
from storage.errors import StoreError
from storage.queries import dialled_since


def dial_rules(settings: Settings, dsn: str) -> DialRules:
    """As the settings want them. Raises ConfigError for a list that cannot be read."""
    outbound = settings.outbound
    zone = ZoneInfo(outbound.timezone) if outbound.timezone else settings.zone

    async def counted(number: str, since: datetime) -> int | None:
        try:
            return await dialled_since(dsn, number, since)
        except StoreError:
            return None

    return DialRules(
        CallingHours.of(outbound.calling_hours, outbound.holidays, zone),
        DoNotCall(outbound.do_not_call),
        outbound.attempts_per_day,
        counted,
    )


class DialService:
    """One per process, made by the composition root."""

    def __init__(
        self,
        switchboard: Switchboard,
        dialler: Dialler,
        rules: DialRules,
        languages: Callable[[], Languages],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._switchboard = switchboard
        self._dialler = dialler
        self._rules = rules
        self._languages = languages
        self._metrics = metrics
        self._clock = clock

    async def dial(self, request: DialRequest) -> Mapping[str, Any]:
        """Places the call, and says what became of it as far as is asked. ConfigError, DialRefused, NoRoute."""
        call, way = await self.place(request)
        if request.until == "placed":
            return {"call": str(call.key), "status": Status.INITIATED.value}
        ending = await (call.settled() if request.until == "answered" else call.over())
        return {
            "call": str(call.key),
            "status": Status.IN_PROGRESS.value if ending is None else ending.status.value,
            "reason": "answered" if ending is None else ending.reason,
            "sip_code": 200 if ending is None else ending.sip_code,
            "answered_by": call.answered_by or None,
            "trunk": way.trunk_name,
            "attempts": [each.as_dict() for each in way.attempts],
        }

    async def place(self, request: DialRequest) -> tuple[Call, Placed]:
        """The call has begun; what it is for stands in its row."""
        errand = self._errand(request)
        number = self._dialler.route(request.to, request.caller, request.trunk).to_e164
        forced = ""
        if number:  # else no trunk can read it, and the switchboard says why
            try:
                forced = await self._rules.check(number, self._clock.now().wall, force=request.force)
            except DialRefused as error:
                self._metrics.calls.labels("outbound", "", Status.FAILED.value, error.reason).inc()
                raise
        placed = self._switchboard.place(
            request.to, request.caller, request.trunk, errand=replace(errand, forced=forced), id=request.id
        )
        self._rules.began(number, self._clock.now().wall)
        return placed

    def _errand(self, request: DialRequest) -> Errand:
        offered = self._languages().by_code
        if request.language and request.language not in offered:
            raise ConfigError(
                f"dial: language = {request.language!r}: not offered; allowed: {', '.join(offered)}"
            )
        text = request.instructions
        return Errand(
            purpose=request.purpose,
            instructions=parse(text, "dial: instructions") if text else None,
            language=request.language,
            message=request.message,
            answering_machine=request.answering_machine,
        )
