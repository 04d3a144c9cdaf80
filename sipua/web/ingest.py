"""The four routes of the function that this replaces: ``/openai-realtime``, its ``events``, ``end`` and ``health``.

What they do is ``sipua.ingest``'s; here is what may be sent and how refusals are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from sipua.errors import RealtimeError, RealtimeUnreachable, SipuaError
from sipua.ingest.calls import Caller, CallIsOver, CannotLookUp, CarriedElsewhere, NoSuchCall, ToldCalls
from sipua.sip_message import phone_number
from sipua.web.body import json_body, read_json
from sipua.web.guard import Guard, Role
from sipua.web.health import READY_TIMEOUT_S, Check, Part
from sipua.web.problem import Problem, problems
from sipua.web.shapes import Responses, json_answer, shape, told

PATH = "/openai-realtime"
EVENT_MAX_BYTES = 256 << 10  # of a request: an event may hold a piece of audio, which is not kept
DAY_S = 86_400
PRINTABLE = "^[ -~]{1,255}$"  # ASCII
Health = Callable[
    [str, str], tuple[int, dict[str, Any]]
]  # why database and spool are not ready, "" if they are

EXAMPLE_ID = "0b8e7d6c-5a4f-4e3d-9c2b-1a0f9e8d7c6b"
OPENED: Responses = told(
    shape(success="flag", callId="uuid", sessionId="uuid", ephemeralKey="text"),
    "the call's id, that of its session, and a key to open the session with",
    {"success": True, "callId": EXAMPLE_ID, "sessionId": EXAMPLE_ID, "ephemeralKey": "ek_…"},
)
TAKEN: Responses = told(
    shape(success="flag", recorded="integer"), "how many rows follow from it; 0: of this kind none are kept",
    {"success": True, "recorded": 2},
)  # fmt: skip
ENDED: Responses = told(
    shape(success="flag", callId="uuid", status="text", endedAt="time?", durationSeconds="integer?"),
    "its end, the same however often it is told; endedAt is null while its SIP leg is being hung up",
    {"success": True, "callId": EXAMPLE_ID, "status": "completed", "endedAt": "2026-01-02T08:01:30+00:00",
     "durationSeconds": 82},
)  # fmt: skip
FEATURES = shape(
    **dict.fromkeys(("twilio_sip", "mtn_sip", "openai_realtime"), ("active", "pending", "down", "off"))
)
HEALTH_SHAPE = shape(
    status=("healthy", "degraded", "unhealthy"), service="text", timestamp="time", features=FEATURES, why="texts",
    details="object",
)  # fmt: skip
HEALTH: Responses = told(HEALTH_SHAPE, "calls are served") | told(
    HEALTH_SHAPE, "no call would be served; why says what is missing", status=503
)
REFUSED: Responses = problems(
    _400="it is not JSON", _409="the call has ended", _415="it is not application/json", _422="something does not fit"
)  # fmt: skip
# The first that fits; ``reason`` of the error goes with it.
_STATUS: tuple[tuple[type[SipuaError], int], ...] = (
    (NoSuchCall, 404),
    (CallIsOver, 409),
    (CarriedElsewhere, 409),
    (CannotLookUp, 503),
    (RealtimeUnreachable, 503),
    (RealtimeError, 502),
    (SipuaError, 503),
)


Number = Annotated[str, Field(max_length=255)]


WITH_TYPE: dict[str, Any] = {"required": ["type"], "properties": {"type": {"type": "string"}}}


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class Opening(_Body):
    """A call has begun. ``from`` and ``to``: numbers in E.164; what is no number (anonymous) is not kept."""

    call_sid: Annotated[str, Field(alias="callSid", pattern=PRINTABLE)]
    from_: Annotated[Number, Field(alias="from")]
    to: Number
    locale: Annotated[str | None, Field(pattern="^[A-Za-z]{2}([-_][A-Za-z0-9]{2,8})*$", max_length=35)] = None

    def caller(self) -> Caller:
        return Caller(
            self.call_sid, phone_number(self.from_), phone_number(self.to), (self.locale or "")[:2].lower()
        )


class Told(_Body):
    """An event of the Realtime session, as the service sent it or as it was sent there."""

    call_id: Annotated[UUID, Field(alias="callId", strict=False)]
    event: Annotated[dict[str, Any], Field(json_schema_extra=WITH_TYPE)]


class Ending(_Body):
    """The call is over; without ``duration`` (seconds) it is measured from the beginning of its session."""

    call_id: Annotated[UUID, Field(alias="callId", strict=False)]
    duration: Annotated[float | None, Field(ge=0, le=7 * DAY_S, allow_inf_nan=False)] = None


def ingest_router(
    guard: Guard,
    calls: ToldCalls,
    health: Health,
    checks: Mapping[str, Check],
    check_timeout_s: float = READY_TIMEOUT_S,
) -> APIRouter:
    """``checks`` has those of ``database`` and ``spool``."""
    parts = [Part(checks[name], check_timeout_s) for name in ("database", "spool")]
    router = APIRouter(prefix=PATH, tags=["calls that others hold"])
    ingest = guard.requires(Role.INGEST)

    @router.post(
        "", summary="A call has begun: its row, and a key for its session", dependencies=[Depends(ingest)],
        responses=OPENED | REFUSED | problems(_502="the voice service refuses; the call has failed"),
        openapi_extra=json_body(
            Opening, {"callSid": "CA00000000000000000000000000000001", "from": "+12025550101", "to": "+12025550100"}
        ),
    )  # fmt: skip
    async def begin(request: Request) -> Response:
        wanted = await read_json(request, Opening)
        try:
            opened = await calls.open(wanted.caller())
        except SipuaError as error:
            raise _refused(error) from None
        return json_answer(
            {
                "success": True,
                "callId": str(opened.call_id),
                "sessionId": str(opened.session_id),
                "ephemeralKey": opened.key,
            },
            headers={"Cache-Control": "no-store"},
        )

    @router.post(
        "/events", summary="Something has happened in its session", dependencies=[Depends(ingest)],
        responses=TAKEN | REFUSED,
        openapi_extra=json_body(
            Told, {"callId": EXAMPLE_ID, "event": {"type": "response.created", "event_id": "event_1"}}
        ),
    )  # fmt: skip
    async def event(request: Request) -> Response:
        wanted = await read_json(request, Told, EVENT_MAX_BYTES)
        if not isinstance(wanted.event.get("type"), str):
            raise Problem(422, "event.type: expected a text, such as response.done")
        try:
            recorded = await calls.event(wanted.call_id, wanted.event)
        except SipuaError as error:
            raise _refused(error) from None
        return json_answer({"success": True, "recorded": recorded})

    @router.post(
        "/end", summary="The call is over", dependencies=[Depends(ingest)], responses=ENDED | REFUSED,
        openapi_extra=json_body(Ending, {"callId": EXAMPLE_ID, "duration": 82}),
    )  # fmt: skip
    async def end(request: Request) -> Response:
        wanted = await read_json(request, Ending)
        try:
            ended = await calls.end(
                wanted.call_id, None if wanted.duration is None else round(wanted.duration)
            )
        except SipuaError as error:
            raise _refused(error) from None
        return json_answer(
            {
                "success": True,
                "callId": str(wanted.call_id),
                "status": ended.status,
                "endedAt": None if ended.ended_at is None else ended.ended_at.isoformat(),
                "durationSeconds": ended.duration_seconds,
            }
        )

    @router.get(
        "/health",
        summary="Whether calls would be served now",
        dependencies=[Depends(ingest)],
        responses=HEALTH,
    )
    async def healthy() -> Response:
        database, spool = [
            "" if text == "ok" else text for text in await asyncio.gather(*(part.told() for part in parts))
        ]
        status, document = health(database, spool)
        return json_answer(document, status, {"Cache-Control": "no-store"})

    return router


def _refused(error: SipuaError) -> Problem:
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    headers = {"Retry-After": "2"} if isinstance(error, CannotLookUp) else {}
    more = {"code": error.code} if isinstance(error, RealtimeError) and error.code else {}
    return Problem(status, str(error), reason=error.reason, headers=headers, **more)
