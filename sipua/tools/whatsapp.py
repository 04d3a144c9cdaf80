"""``send_whatsapp``: hands what was said on the telephone to WhatsApp, by the Cloud API.

To the person on the telephone only, never to a number that the model names. The API knows no idempotency key: a message
is sent again only where the connection was never made.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Annotated, Any, Protocol, Self
from uuid import UUID, uuid5

import httpx
from pydantic import BaseModel, Field, StringConstraints

from sipua import __version__
from sipua.ports import Clock
from sipua.tools.context import ToolContext
from sipua.tools.registry import Result
from sipua.tools.schema import ToolError
from sipua.whatsapp import TEXT_MAX_CHARS, WhatsAppSettings, may_write_freely, template_message, text_message

log = logging.getLogger(__name__)

ANSWER_MAX_BYTES = 65_536
RETRIES = 2
BACKOFF_S = 0.2  # doubled
CONNECT_TIMEOUT_S = 3.0
SLACK_S = 2.0  # for looking up when they last wrote

WINDOW_CLOSED = 131047
NOT_SENT = "the message cannot be sent for the moment: say so, or give the information in words"
REFUSALS = {
    131026: "this number cannot be reached by WhatsApp: give the information in words",
    131050: "this person wants no messages: give the information in words",
    131056: "too many messages to this number just now: do not send another one",
    130429: NOT_SENT,
}


class Threads(Protocol):
    """What is known of messages, and where they are noted."""

    async def replied_at(self, msisdn: str) -> datetime | None:
        """When the person last wrote; None also where that cannot be read. Never raises."""

    def thread_begun(
        self, id: UUID, *, call_id: UUID, msisdn: str, message_id: str, at: datetime
    ) -> None: ...


class SendArguments(BaseModel):
    message: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=TEXT_MAX_CHARS)
    ] = Field(description="What the caller should have in writing, in their language, without greeting")


class SendWhatsApp:
    """One per process; to be entered, for its connections."""

    name = "send_whatsapp"
    description = (
        "Sends the caller a WhatsApp message to the number they are calling from, with what they should have in "
        "writing: a reference, an address, a telephone number. Ask first whether they want it."
    )
    Arguments = SendArguments

    def __init__(self, settings: WhatsAppSettings, token: str, threads: Threads, clock: Clock) -> None:
        self._settings = settings
        self._threads = threads
        self._clock = clock
        self.timeout_s = settings.timeout_s + SLACK_S
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}", "User-Agent": f"sipua/{__version__}"},
            timeout=httpx.Timeout(settings.timeout_s, connect=min(CONNECT_TIMEOUT_S, settings.timeout_s)),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def run(self, arguments: SendArguments, context: ToolContext) -> Result:
        to = context.person
        if to is None:
            raise ToolError("the caller's number is withheld: nothing can be sent")
        template = template_message(to, arguments.message, context.locale, self._settings)
        is_free = may_write_freely(await self._threads.replied_at(to), self._clock.now().wall)
        status, answer = await self._post(text_message(to, arguments.message) if is_free else template)
        if is_free and _code(answer) == WINDOW_CLOSED:
            is_free = False
            status, answer = await self._post(template)
        message_id = _message_id(answer)
        if status != 200 or message_id is None:
            code = _code(answer)
            log.warning("call=%s WhatsApp refused a message: HTTP %d, code %s", context.call_id, status, code)
            raise ToolError(REFUSALS.get(code or 0, NOT_SENT))
        self._threads.thread_begun(
            uuid5(context.call_id, to),  # one thread for a call
            call_id=context.call_id,
            msisdn=to,
            message_id=message_id,
            at=self._clock.now().wall,
        )
        if is_free or self._settings.template_has_text:
            return {"status": "sent"}
        return {"status": "sent", "note": "a fixed greeting went out: they get your text once they answer it"}

    async def _post(self, body: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
        url = f"{self._settings.base_url}/{self._settings.phone_number_id}/messages"
        for attempt in range(RETRIES + 1):
            if attempt:
                await asyncio.sleep(BACKOFF_S * 2 ** (attempt - 1))
            try:
                async with self._client.stream("POST", url, json=dict(body)) as response:
                    found = bytearray()
                    async for chunk in response.aiter_bytes():
                        found += chunk
                        if len(found) > ANSWER_MAX_BYTES:
                            raise ToolError(NOT_SENT)
                    return response.status_code, _object(bytes(found))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                log.warning("WhatsApp: attempt %d: %s", attempt + 1, str(error) or type(error).__name__)
            except httpx.HTTPError as error:
                log.warning("WhatsApp: %s", str(error) or type(error).__name__)
                raise ToolError("whether the message was sent is not known: do not send it again") from None
        raise ToolError(NOT_SENT)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _code(answer: Mapping[str, Any]) -> int | None:
    error = answer.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else None


def _message_id(answer: Mapping[str, Any]) -> str | None:
    messages = answer.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    id = first.get("id") if isinstance(first, dict) else None
    return id if isinstance(id, str) and id else None
