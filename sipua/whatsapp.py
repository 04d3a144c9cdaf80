"""WhatsApp's Cloud API as values: settings, messages that we send, webhooks that we are sent. No I/O, no clock.

First contact is a template that Meta has approved; free text is allowed for 24 hours after the person wrote. Webhooks
are signed with the app's secret (HMAC-SHA256 of the body) and come more than once and in any order.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast, get_args

from pydantic import Field, model_validator

from sipua.realtime.endpoint import is_in_the_clear
from sipua.section import Section

WINDOW = timedelta(hours=24)
MARGIN = timedelta(minutes=2)  # of clocks, and of the way there
TEXT_MAX_CHARS = 900  # a variable of a template may make its body 1,024 long
NEWS_MAX = 1_000  # of one webhook
STATUSES = Literal["sent", "delivered", "read", "failed"]
_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})")
_WA_ID = re.compile(r"[1-9][0-9]{6,14}")
_ID_MAX_CHARS = 200


class WhatsAppSettings(Section):
    """Messages to callers by WhatsApp's Cloud API: the tool send_whatsapp, and its webhook /whatsapp."""

    phone_number_id: str = Field(default="", pattern=r"^[0-9]{0,32}$")
    """Of the sending number, as Meta has it; empty = no WhatsApp."""
    token_file: str = ""
    """A file with the access token."""
    business_account_id: str = Field(default="", pattern=r"^[0-9]{0,32}$")
    """Of the WhatsApp Business account, for `sipua doctor`: whether the template is approved; empty = not looked up."""
    template: str = Field(default="", pattern=r"^[a-z0-9_]{0,512}$")
    """Name of the approved template for a first message."""
    template_languages: dict[str, str] = Field(default={})
    """Language of the call → code of the template's language; a call in another one gets the first; empty = en."""
    template_has_text: bool = True
    """Whether its body has one variable, which is what the agent writes."""
    app_secret_file: str = ""
    """A file with the app's secret, by which webhooks are signed; empty = no webhook."""
    verify_token_file: str = ""
    """A file with the token that you also entered at Meta for the webhook."""
    base_url: str = Field(default="https://graph.facebook.com/v23.0", pattern=r"^https?://\S+[^/\s]$")
    """Where the API is."""
    timeout_s: float = Field(default=8.0, ge=0.5, le=30.0)
    """Of one message."""

    @model_validator(mode="after")
    def _whole(self) -> WhatsAppSettings:
        if self.phone_number_id and not (self.token_file and self.template):
            raise ValueError("phone_number_id wants token_file and template too")
        if is_in_the_clear(self.base_url):
            raise ValueError(
                f"base_url = {self.base_url!r}: messages would cross the network unencrypted; use https"
            )
        if bool(self.app_secret_file) != bool(self.verify_token_file):
            raise ValueError("app_secret_file and verify_token_file: both or neither")
        if self.app_secret_file and not self.phone_number_id:
            raise ValueError("app_secret_file wants phone_number_id, which is empty")
        return self


@dataclass(frozen=True, slots=True)
class Status:
    """What became of a message of ours."""

    message_id: str
    status: STATUSES
    at: datetime
    conversation_id: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """Somebody wrote to us; what, we do not keep."""

    message_id: str
    msisdn: str
    at: datetime


News = Status | Reply


def may_write_freely(replied_at: datetime | None, now: datetime) -> bool:
    """Within 24 hours of the person's last message."""
    return replied_at is not None and now - replied_at < WINDOW - MARGIN


def text_message(to: str, text: str) -> dict[str, Any]:
    """The body of a request: free text."""
    return _message(to, "text", {"body": text, "preview_url": False})


def template_message(to: str, text: str, locale: str, settings: WhatsAppSettings) -> dict[str, Any]:
    """The body of a request: the approved template, with ``text`` as its variable if it has one."""
    codes = settings.template_languages
    code = codes.get(locale) or next(iter(codes.values()), "en")
    template: dict[str, Any] = {"name": settings.template, "language": {"code": code}}
    if settings.template_has_text:
        # a variable holds neither line breaks nor five blanks in a row (error 132018)
        variable = {"type": "text", "text": " ".join(text.split())}
        template["components"] = [{"type": "body", "parameters": [variable]}]
    return _message(to, "template", template)


def _message(to: str, type: str, content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": to.removeprefix("+"),
        "type": type,
        type: dict(content),
    }


def is_signature(header: str) -> bool:
    """Whether ``X-Hub-Signature-256`` has the form of one: what has not need not be read."""
    return _SIGNATURE.fullmatch(header) is not None


def is_signed(body: bytes, header: str, secret: str) -> bool:
    """Whether ``X-Hub-Signature-256`` is that of the body; takes the same time for every wrong one."""
    match = _SIGNATURE.fullmatch(header)
    right = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(match[1] if match else "0" * 64, right) and match is not None


def challenge_of(query: Mapping[str, str], verify_token: str) -> str | None:
    """What the verification of a webhook is answered with; None: it is not the one that we expect."""
    token = query.get("hub.verify_token", "")
    right = hmac.compare_digest(token.encode(), verify_token.encode())
    return query.get("hub.challenge") if right and query.get("hub.mode") == "subscribe" else None


def read_webhook(body: bytes, phone_number_id: str, now: datetime) -> list[News]:
    """What it tells about our number; what is not understood is left out. ValueError if it is no JSON object."""
    try:
        payload = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(payload, dict):
        raise ValueError("not a JSON object")
    found: list[News] = []
    for news in _news(payload, phone_number_id, now):
        found.append(news)
        if len(found) >= NEWS_MAX:
            break
    return found


def _news(payload: Mapping[str, Any], phone_number_id: str, now: datetime) -> Iterator[News]:
    for entry in _dicts(payload.get("entry")):
        for change in _dicts(entry.get("changes")):
            value = _dict(change.get("value"))
            if _dict(value.get("metadata")).get("phone_number_id") != phone_number_id:
                continue
            for message in _dicts(value.get("messages")):
                sender, id = _text(message.get("from")), _text(message.get("id"))
                if id and sender and _WA_ID.fullmatch(sender):
                    yield Reply(id, f"+{sender}", _time(message.get("timestamp"), now))
            for told in _dicts(value.get("statuses")):
                id, status = _text(told.get("id")), told.get("status")
                if id and status in get_args(STATUSES):
                    error = next(_dicts(told.get("errors")), None)
                    yield Status(
                        id,
                        cast(STATUSES, status),
                        _time(told.get("timestamp"), now),
                        _text(_dict(told.get("conversation")).get("id")),
                        None
                        if error is None
                        else f"{error.get('code')} {error.get('title')}"[:_ID_MAX_CHARS],
                    )


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> Iterator[Mapping[str, Any]]:
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _ID_MAX_CHARS else None


def _time(value: object, now: datetime) -> datetime:
    """Seconds since 1970, as text; never later than now: a window of 24 hours is opened by it."""
    try:
        return min(datetime.fromtimestamp(int(str(value)[:12]), UTC), now)
    except (ValueError, OverflowError, OSError):
        return now
