"""``POST /calls`` and ``POST /calls/{id}/hangup``: calls that operators and other programs place and end.

A call is placed once for each Idempotency-Key, also if it is asked for twice at the same time or by way of another
process on the same database. What the rules of calling say no to is a problem with their reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response

from sipua.dial_request import DialRequest
from sipua.dial_rules import DialRefused, OnTheList
from sipua.errors import ConfigError, SipuaError
from sipua.outcome import Status
from sipua.sip_message import mask_number
from sipua.switchboard import NoRoute
from sipua.web.body import json_body, read_json
from sipua.web.guard import Guard, Principal, Role
from sipua.web.idempotency import Idempotency, OtherRequest
from sipua.web.problem import Problem, problems
from sipua.web.shapes import Responses, json_answer, shape, told
from storage.call_story import find_call
from storage.reading import ReadPool

log = logging.getLogger(__name__)

NOT_OURS = ("id", "until")  # of a DialRequest: the id comes from the key, and nobody is kept waiting
EXAMPLE = {"to": "+250788123456", "language": "rw", "purpose": "Remind of the appointment tomorrow at ten."}
PLACED: Responses = told(
    shape(call="uuid", status="text"), "it is being dialled",
    {"call": "0b8e7d6c-5a4f-4e3d-9c2b-1a0f9e8d7c6b", "status": "initiated"}, status=202,
)  # fmt: skip
REFUSED: Responses = problems(
    _400="it is not JSON",
    _403="the number is on the do-not-call list, or the token has another role",
    _409="outside calling hours, called often enough today, no trunk may carry it, or the key is another call's",
    _415="it is not application/json",
    _422="something does not fit; errors names each",
)
# The first that fits; ``reason`` of the error goes with it.
_STATUS: tuple[tuple[type[SipuaError], int], ...] = (
    (OnTheList, 403),
    (DialRefused, 409),
    (NoRoute, 409),
    (ConfigError, 422),
    (SipuaError, 503),
)


class Placed(Protocol):
    @property
    def key(self) -> UUID: ...


class Dialling(Protocol):
    """``sipua.dial_service.DialService``."""

    async def place(self, request: DialRequest) -> tuple[Placed, object]: ...


def placing_router(
    guard: Guard,
    pool: ReadPool,
    dialling: Callable[[], Dialling | None],
    hang_up_call: Callable[[UUID], bool],
) -> APIRouter:
    """``dialling``: None while the agent starts; ``hang_up_call`` is False where this process has no such call."""
    router = APIRouter(tags=["calls"])
    operator = guard.requires(Role.OPERATE)
    asked = Idempotency()

    @router.post(
        "/calls", status_code=202, summary="Call somebody", responses=PLACED | REFUSED,
        openapi_extra=json_body(DialRequest, EXAMPLE, leave_out=NOT_OURS),
    )  # fmt: skip
    async def place(
        request: Request,
        who: Principal = Depends(operator),
        idempotency_key: Annotated[
            str | None, Header(min_length=1, max_length=255, description="the same key places one call, once")
        ] = None,
    ) -> Response:
        wanted = await read_json(request, DialRequest)
        if named := [name for name in NOT_OURS if name in wanted.model_fields_set]:
            raise Problem(422, f"{', '.join(named)}: not to be given here; an Idempotency-Key decides the id")
        if idempotency_key is None:
            return _placed(await _place(wanted, who))
        id = Idempotency.id_of(who.name, idempotency_key)
        wanted = wanted.model_copy(update={"id": id})
        if await _was_placed(id, wanted):
            return _placed(id, again=True)
        is_placed = False
        try:
            await _place(wanted, who)
            is_placed = True
        finally:
            asked.end(id, forget=not is_placed)
        return _placed(id)

    async def _was_placed(id: UUID, wanted: DialRequest) -> bool:
        """Here, or by a process of the past or elsewhere. If not, it is ours to place."""
        while True:
            try:
                before = asked.begin(id, wanted)
            except OtherRequest:
                raise Problem(
                    409, "the Idempotency-Key was used for another call", reason="key_used"
                ) from None
            if before is None:
                break
            if before.done.is_set():
                return True
            await before.done.wait()
        try:
            found = await find_call(pool, id)
        except BaseException:
            asked.end(id, forget=True)
            raise
        if found is not None:
            asked.end(id, forget=False)
        return found is not None

    async def _place(wanted: DialRequest, who: Principal) -> UUID:
        service = dialling()
        if service is None:
            raise Problem(
                503, "the agent is starting: its trunks are not up yet", headers={"Retry-After": "2"}
            )
        try:
            call, _ = await service.place(wanted)
        except SipuaError as error:
            raise _refused(error, wanted) from None
        log.info("call=%s to %s is placed for %s", call.key, mask_number(wanted.to), who.name)
        return call.key

    @router.post(
        "/calls/{call_id}/hangup", status_code=202, summary="End a call",
        responses=told(shape(call="uuid"), "it is being ended", status=202),
    )  # fmt: skip
    async def hang_up(call_id: UUID, who: Principal = Depends(operator)) -> Response:
        if not hang_up_call(call_id):
            raise Problem(404, "no call with this id is up in this process")
        log.info("call=%s is ended for %s", call_id, who.name)
        return json_answer({"call": str(call_id)}, 202)

    return router


def _placed(id: UUID, *, again: bool = False) -> Response:
    headers = {"Location": f"/calls/{id}"} | ({"Idempotency-Replayed": "true"} if again else {})
    document: dict[str, Any] = {"call": str(id), "status": Status.INITIATED.value}
    return json_answer(document, 202, headers)


def _refused(error: SipuaError, wanted: DialRequest) -> Problem:
    status = next(code for kind, code in _STATUS if isinstance(error, kind))
    detail = str(error).replace(repr(wanted.to), "the number")
    headers = {"Retry-After": "5"} if status == 503 else {}
    return Problem(status, detail, reason=error.reason, headers=headers)
