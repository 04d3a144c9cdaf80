"""What the dashboard's page asks of the ledger: calls with a filter, one call, its numbers, the cost of days."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from sipua.currency import CurrencySettings, cost_fields
from sipua.days import day_begins, day_of
from sipua.ports import Clock
from sipua.web import dashboard_view as view
from sipua.web.dashboard_static import HEADERS
from sipua.web.guard import Guard, Principal, Role
from sipua.web.problem import Problem, invalid
from sipua.web.recordings import RecordingLinks
from sipua.web.shapes import json_answer, long_answer
from storage.call_filter import MOST_ROWS, CallFilter
from storage.call_reads import list_calls, per_day
from storage.call_story import call_story
from storage.number_reads import numbers_of
from storage.reading import ReadPool
from storage.words import Direction, Status

log = logging.getLogger(__name__)

NO_CALL = "there is no such call"


class PageQuery(BaseModel):
    """The filter of the history, as its form has it. Days are those of the zone."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None = None
    direction: Direction | None = None
    trunk: Annotated[str | None, Field(max_length=64)] = None
    digits: Annotated[str | None, Field(pattern="^[0-9]{3,20}$")] = None
    from_day: date | None = None
    to_day: date | None = None
    after: Annotated[str | None, Field(max_length=255)] = None
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 50

    def filter(self, zone: ZoneInfo) -> CallFilter:
        """Raises ValueError."""
        return CallFilter(
            status=self.status,
            direction=self.direction,
            trunk=self.trunk,
            digits=self.digits,
            since=_begins(self.from_day, zone),
            until=_begins(self.to_day, zone, 1),
        )


def _begins(day: date | None, zone: ZoneInfo, later: int = 0) -> datetime | None:
    """Raises ValueError for days beyond what a calendar has."""
    try:
        return None if day is None else day_begins(day + timedelta(days=later), zone)
    except OverflowError:
        raise ValueError(f"day {day}: beyond the calendar") from None


def ledger_router(
    guard: Guard,
    pool: ReadPool,
    links: RecordingLinks,
    clock: Clock,
    zone: ZoneInfo,
    currency: CurrencySettings,
) -> APIRouter:
    router = APIRouter(prefix="/dashboard", include_in_schema=False)
    reader, operator = guard.requires(Role.READ), guard.requires(Role.OPERATE)

    @router.get("/calls", dependencies=[Depends(reader)])
    async def calls(query: Annotated[PageQuery, Query()]) -> Response:
        try:
            page = await list_calls(pool, query.filter(zone), query.after, query.limit)
        except ValueError as error:
            raise invalid([(("query",), str(error))]) from None
        return json_answer(
            {"calls": [_priced(view.line(each), currency) for each in page.calls], "next": page.next}
        )

    @router.get("/calls/{id}", dependencies=[Depends(reader)])
    async def call(id: UUID) -> Response:
        found = await call_story(pool, id)
        if found is None:
            raise Problem(404, NO_CALL)
        links.put_into(found)
        shown = view.story(found)
        shown["call"] = _priced(shown["call"], currency)
        return await long_answer(shown)

    @router.post("/calls/{id}/numbers")
    async def numbers(id: UUID, who: Principal = Depends(operator)) -> Response:
        found = await numbers_of(pool, id)
        if found is None:
            raise Problem(404, NO_CALL)
        log.info("call=%s numbers shown to %s", id, who.name)
        return json_answer(view.numbers(found), headers=HEADERS | {"Cache-Control": "no-store"})

    @router.get("/costs", dependencies=[Depends(reader)])
    async def costs(days: Annotated[int, Query(ge=1, le=366)] = 30) -> Response:
        found = await per_day(pool, zone.key, days, day_of(clock.now().wall, zone))
        return json_answer(
            {
                "days": [_priced(day, currency) for day in found],
                "zone": zone.key,
                "currency": currency.code or None,
            }
        )

    return router


def _priced(row: Mapping[str, Any], currency: CurrencySettings) -> dict[str, Any]:
    return {**row, **cost_fields(row["cost_usd"], currency)}
