"""``/calls``, ``/calls/{id}`` and ``/analytics/live-calls``: what the ledger has of calls, for who may read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, get_args

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from sipua.currency import CurrencySettings, cost_fields, cost_of
from sipua.ports import Clock
from sipua.web.guard import Guard, Role
from sipua.web.problem import Problem, invalid
from sipua.web.recordings import RecordingLinks
from sipua.web.shapes import Responses, json_answer, long_answer, several, shape, told, with_some
from storage.call_filter import MOST_ROWS, CallFilter
from storage.call_reads import list_calls, live_calls, live_contract
from storage.call_story import PARTS, call_story
from storage.call_timeline import KINDS
from storage.reading import ReadPool
from storage.words import Direction, Status

KEY_MAX = 255  # characters of an id

CALL = with_some(shape(
    id="uuid", call_sid="text", direction=get_args(Direction), from_e164="text?", to_e164="text?", provider="text?",
    trunk="text?", channel="text?", locale="text?", country="text?", status=get_args(Status), outcome="text?",
    intent="text?", handoff="flag?", handoff_target="text?", consent_obtained="flag?", lead_name="text?",
    started_at="time?", ended_at="time?", duration_seconds="integer?", first_time_to_assistant_seconds="number?",
    cost_usd="number?", mos="number?",
), cost="number?", currency="text")  # fmt: skip
CALL_EXAMPLE = {
    "id": "0b8e7d6c-5a4f-4e3d-9c2b-1a0f9e8d7c6b", "call_sid": "CA00000000000000000000000000000001",
    "direction": "inbound", "from_e164": "+250788123456", "to_e164": "+250788000000", "provider": "twilio",
    "trunk": "twilio", "channel": "voice", "locale": "rw", "country": "RW", "status": "completed",
    "outcome": "caller_hangup", "intent": None, "handoff": False, "handoff_target": None, "consent_obtained": True,
    "lead_name": None, "started_at": "2026-01-02T08:00:00Z", "ended_at": "2026-01-02T08:01:30Z",
    "duration_seconds": 82, "first_time_to_assistant_seconds": 0.9, "cost_usd": 0.021, "mos": 4.2,
}  # fmt: skip
CALLS: Responses = told(
    shape(calls=several(CALL), next="text?"), "a page; next is for after=", {"calls": [CALL_EXAMPLE], "next": None}
)  # fmt: skip
STORY: Responses = told(
    shape(
        call="object", cut="texts", media="object?", quality="object?",
        recordings=several(shape(consent_id="uuid", url="text", expires_at="time", t="time?")),
        timeline=several(shape(t="time", kind=KINDS, what="text", text="text")),
        **dict.fromkeys(PARTS, "objects"),
    ),
    "its row, its parts, and the order in which it all happened; cut names parts that are not whole",
)  # fmt: skip
LIVE = shape(
    callSid="text", tenantId="text?", leadName="text?", leadPhone="text?", agentRegion="text?", startedAt="time?",
    lastMediaAt="time?", status=("active", "handoff", "ended"), direction=get_args(Direction),
    warmTransferQueue="text?", optOutDetected="flag", transcriptPreview="text?", durationSeconds="integer",
)  # fmt: skip
LIVE_EXAMPLE = {
    "callSid": "CA00000000000000000000000000000001", "tenantId": None, "leadName": None, "leadPhone": "+250788123456",
    "agentRegion": "RW", "startedAt": "2026-01-02T08:00:00Z", "lastMediaAt": "2026-01-02T08:00:41Z",
    "status": "active", "direction": "inbound", "warmTransferQueue": None, "optOutDetected": False,
    "transcriptPreview": "assistant: Muraho!", "durationSeconds": 38,
}  # fmt: skip
LIVE_CALLS: Responses = told(
    shape(calls=several(LIVE), generatedAt="time"), "the calls without an end, the newest first",
    {"calls": [LIVE_EXAMPLE], "generatedAt": "2026-01-02T08:00:42Z"},
)  # fmt: skip


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("allowed are printable characters")
    return text


def _moment(text: str) -> datetime:
    """pydantic would take a number for a time too."""
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("expected a time with its offset from UTC, such as 2026-01-02T08:00:00Z") from None


def _is_moment(text: str) -> str:
    _moment(text)
    return text


Word = Annotated[str, Field(min_length=1, max_length=KEY_MAX), AfterValidator(_printable)]
Time = Annotated[
    str, Field(max_length=40, json_schema_extra={"format": "date-time"}), AfterValidator(_is_moment)
]
PathKey = Annotated[
    str, Path(min_length=1, max_length=KEY_MAX, description="its id, its carrier's, or the SIP Call-ID")
]


class CallQuery(BaseModel):
    """What ``GET /calls`` may be asked."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None = None
    direction: Direction | None = None
    trunk: Word | None = None
    provider: Word | None = None
    channel: Word | None = None
    language: Word | None = None
    from_: Annotated[Word | None, Field(alias="from", description="the number that called, E.164")] = None
    to: Annotated[Word | None, Field(description="the number that was called, E.164")] = None
    digits: Annotated[str | None, Field(pattern="^[0-9]{3,20}$", description="how either number ends")] = None
    since: Annotated[Time | None, Field(description="began then or later")] = None
    until: Annotated[Time | None, Field(description="began before")] = None
    live: Annotated[bool | None, Field(description="without an end, or with one")] = None
    after: Annotated[Word | None, Field(description="the next of an earlier page")] = None
    limit: Annotated[int, Field(ge=1, le=MOST_ROWS)] = 50

    def filter(self) -> CallFilter:
        """Raises ValueError."""
        return CallFilter(
            status=self.status,
            direction=self.direction,
            trunk=self.trunk,
            provider=self.provider,
            channel=self.channel,
            language=self.language,
            from_number=self.from_,
            to_number=self.to,
            digits=self.digits,
            since=_moment(self.since) if self.since else None,
            until=_moment(self.until) if self.until else None,
            is_live=self.live,
        )


def calls_router(
    guard: Guard, pool: ReadPool, links: RecordingLinks, currency: CurrencySettings
) -> APIRouter:
    """Where ``currency`` is set, costs are told in it too."""
    router = APIRouter(tags=["calls"], dependencies=[Depends(guard.requires(Role.READ))])

    @router.get("/calls", summary="Calls, the newest first", responses=CALLS)
    async def listed(query: Annotated[CallQuery, Query()]) -> Response:
        try:
            page = await list_calls(pool, query.filter(), query.after, query.limit)
        except ValueError as error:
            raise _fault(str(error)) from None
        calls = [call | cost_fields(call["cost_usd"], currency) for call in page.calls]
        return json_answer({"calls": calls, "next": page.next})

    @router.get("/calls/{key:path}", summary="One call, and everything that happened on it", responses=STORY)
    async def story(key: PathKey) -> Response:
        found = await call_story(pool, key)
        if found is None:
            raise Problem(404, "there is no call with this id, carrier's id or SIP Call-ID")
        links.put_into(found)
        found["call"] |= cost_fields(cost_of(found["call"]["metadata"]), currency)
        return await long_answer(found)

    return router


def live_router(guard: Guard, pool: ReadPool, clock: Clock) -> APIRouter:
    """What readers of the shared schema ask for; below the path prefix too."""
    router = APIRouter(tags=["calls"], dependencies=[Depends(guard.requires(Role.READ))])

    @router.get("/analytics/live-calls", summary="The calls that go on now", responses=LIVE_CALLS)
    async def live() -> Response:
        found = await live_calls(pool)
        at = clock.now().wall.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        calls = await asyncio.to_thread(lambda: [live_contract(call) for call in found.calls])
        return await long_answer({"calls": calls, "generatedAt": at})

    return router


def _fault(text: str) -> Problem:
    """Of the storage package, whose messages begin with the name."""
    name, _, rest = text.partition(":")
    return invalid([(("query", *name.split()[:1]), rest.strip() or text)])
