"""``/twilio/voice`` and ``/twilio/status``: Twilio's webhooks of voice numbers. Signed; what is forged is told 403."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response
from pydantic import SecretStr

from sipua.ports import Clock
from sipua.seldom import Seldom
from sipua.twilio import twiml
from sipua.twilio.calls import WORDS, NotTwilio, begun, sid_of, told
from sipua.twilio.signature import HEADER, SETTINGS_HEADER, is_signed
from sipua.twilio_settings import TwilioSettings
from sipua.web.body import read_body
from sipua.web.guard import source_of
from sipua.web.limits import network_of
from sipua.web.problem import Problem, problems

log = logging.getLogger(__name__)

BODY_MAX_BYTES = 32 << 10
FIELDS_MAX = 200
XML = "application/xml"
ANSWERED = ("answered", "completed")  # DialCallStatus
REFUSED = problems(_403="it is not signed by the account", _422="a field does not fit")
TWIML: dict[int | str, dict[str, Any]] = {
    200: {"description": "TwiML", "content": {XML: {"schema": {"type": "string"}}}},
    **REFUSED,
}
TAKEN: dict[int | str, dict[str, Any]] = {204: {"description": "taken"}, **REFUSED}
Put = Callable[..., None]


def _signed(**fields: Mapping[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["CallSid"],
        "properties": {"CallSid": {"type": "string"}, **fields},
    }
    return {
        "parameters": [{"name": HEADER, "in": "header", "required": True, "schema": {"type": "string"}}],
        "requestBody": {
            "required": True,
            "content": {"application/x-www-form-urlencoded": {"schema": schema}},
        },
    }


def twilio_router(
    settings: TwilioSettings, token: SecretStr, public_url: str, put: Put, clock: Clock
) -> APIRouter:
    """``public_url``: where Twilio finds us; "" = as its request says."""
    router = APIRouter(prefix="/twilio", tags=["webhooks"])
    told_of = Seldom()

    @router.post(
        "/voice", summary="Twilio asks what to do with a call", responses=TWIML,
        openapi_extra=_signed(From={"type": "string"}, To={"type": "string"}, DialCallStatus={"type": "string"}),
    )  # fmt: skip
    async def voice(request: Request) -> Response:
        fields = await _fields(request)
        if (dialled := fields.get("DialCallStatus")) is not None:  # our leg is over
            return _xml(twiml.over(settings, was_answered=dialled in ANSWERED))
        with_facts(lambda: begun(fields, clock.now().wall))
        here = _url_of(request, public_url).partition("?")[0]
        status = here.removesuffix("/voice") + "/status"
        return _xml(twiml.dial(settings, sid_of(fields), after=here, status=status))

    @router.post(
        "/status", status_code=204, summary="Twilio tells how a call stands", responses=TAKEN,
        openapi_extra=_signed(
            CallStatus={"type": "string", "enum": list(WORDS)}, SequenceNumber={"type": "string"},
            ParentCallSid={"type": "string"}, CallDuration={"type": "string"},
        ),
    )  # fmt: skip
    async def status(request: Request) -> Response:
        fields = await _fields(request)
        with_facts(lambda: told(fields, clock.now().wall))
        return Response(status_code=204)

    def with_facts(facts: Callable[[], tuple[Any, ...]]) -> None:
        try:
            put(*facts())
        except NotTwilio as error:
            raise Problem(422, str(error)) from None

    async def _fields(request: Request) -> Mapping[str, str]:
        """Of the form; of a name that comes twice the last. Problem 403."""
        body = await read_body(request, BODY_MAX_BYTES)
        try:
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="replace"
            ) if _is_form(request) else []  # fmt: skip
        except (ValueError, UnicodeDecodeError):
            raise Problem(422, f"the body: expected a form of at most {FIELDS_MAX} fields") from None
        signature, algorithm = request.headers.get(HEADER, ""), request.headers.get(SETTINGS_HEADER, "")
        url = _url_of(request, public_url)
        if not is_signed(token.get_secret_value(), url, pairs, body, signature, algorithm):
            source = source_of(request)
            unsaid = told_of.unsaid(network_of(source), clock.now().monotonic)
            if unsaid is not None:
                more = f" ({unsaid} like it were not logged)" if unsaid else ""
                path = request.url.path
                log.warning(
                    "< a request to %s from %s that Twilio has not signed%s", path, source or "-", more
                )
            raise Problem(
                403, f"{HEADER} is not that of this request (http.public_url, twilio.auth_token_file)"
            )
        return dict(pairs)

    return router


def _is_form(request: Request) -> bool:
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind == "application/x-www-form-urlencoded"


def _url_of(request: Request, public_url: str) -> str:
    """As Twilio saw it: a proxy may have taken the host, and a part of the path, which public_url has then."""
    query = f"?{request.url.query}" if request.url.query else ""
    base = public_url.rstrip("/") or f"{request.url.scheme}://{request.url.netloc}"
    return f"{base}{request.scope['path']}{query}"


def _xml(document: str) -> Response:
    return Response(document, media_type=XML)
