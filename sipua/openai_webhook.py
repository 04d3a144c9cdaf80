"""What OpenAI's webhooks say, as values: their kinds, and a call that comes in at OpenAI's SIP. No I/O, no clock.

The body is believed for what it is (it is signed); the SIP headers in it are a stranger's. They are bounded, and what
they say of numbers is read as from an INVITE: P-Asserted-Identity before From, anonymous callers have none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import orjson

from sipua.locale import country_of, locale_of
from sipua.ports import CallOpening
from sipua.sip_message import SipMessage, SipUri, parse_uri, phone_number

TRUNK = "openai"  # what stands for a trunk in rows, metrics, departments.toml and trunk rules
INCOMING = "realtime.call.incoming"
BODY_MAX_BYTES = 64 << 10  # they point to things and hold none; SIP headers are a few kilobytes
HEADERS_MAX, HEADER_MAX_CHARS = 64, 1024
OURS = UUID("5f0c9b1e-6a64-5d1c-9d0f-0f3f6f1d2a77")  # names of the ids that are made of OpenAI's
# What OpenAI documents; anything else is "other" in metrics, which strangers name no labels of.
KINDS = frozenset(
    f"{family}.{what}"
    for family, whats in {
        "batch": "completed failed expired cancelled",
        "response": "completed failed cancelled incomplete",
        "eval.run": "succeeded failed canceled",
        "fine_tuning.job": "succeeded failed cancelled",
        "realtime.call": "incoming",
        "live.call": "incoming",
        "live.transport": "incoming connected",
        "video": "completed failed",
        "agent.environment": "ready failed suspended expired",
        "agent.session": "created action_required in_progress idle failed",
        "safety": "alert.created org_alert.created warning_issued deactivation_issued",
        "safety_identifier": "blocked",
    }.items()
    for what in whats.split()
)
_CALL_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")  # it becomes part of a URL
_TWILIO_SID = re.compile(r"CA[0-9a-f]{32}")
_ANONYMOUS = ("anonymous", "restricted", "unavailable", "unknown", "private")


class NotAnEvent(ValueError):
    """Names what is wrong, never what stands there."""


@dataclass(frozen=True, slots=True)
class Told:
    """One webhook. ``incoming`` of ``realtime.call.incoming`` alone."""

    id: str  # webhook-id: the same for every delivery of it
    kind: str
    object_id: str  # of what it is about, "" if it says none
    incoming: Incoming | None = None

    @property
    def label(self) -> str:
        return self.kind if self.kind in KINDS else "other"

    @property
    def source(self) -> str:
        return TRUNK

    @property
    def event_id(self) -> UUID:
        """Of its row in voice_events."""
        return uuid5(OURS, f"webhook {self.id}")

    @property
    def payload(self) -> dict[str, Any]:
        """Of that row."""
        known: dict[str, Any] = {"source": self.source, "webhook_id": self.id, "type": self.kind}
        if self.incoming is not None:
            headers = self.incoming.message.headers
            known |= {
                "openai_call_id": self.incoming.call_id,
                "sip_headers": {name: list(values) for name, values in headers.items() if "auth" not in name},
                "sip_media_security": self.incoming.media_security or None,
            }
        return known


@dataclass(frozen=True, slots=True)
class Incoming:
    """``call_id`` is OpenAI's."""

    call_id: str
    message: SipMessage
    media_security: str

    @property
    def id(self) -> UUID:
        """Of the call's row: the same for every webhook about it."""
        return uuid5(OURS, f"call {self.call_id}")


def read_event(webhook_id: str, body: bytes) -> Told:
    """Of a body that is signed. Raises NotAnEvent."""
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise NotAnEvent("the body is no JSON") from None
    kind = event.get("type") if isinstance(event, dict) else None
    data = event.get("data") if isinstance(event, dict) else None
    if not isinstance(kind, str) or not kind or not isinstance(data, dict):
        raise NotAnEvent("the body is no event with type and data")
    if kind != INCOMING:
        about = data.get("id")
        return Told(webhook_id, kind[:80], about[:128] if isinstance(about, str) else "")
    call_id = data.get("call_id")
    if not isinstance(call_id, str) or not _CALL_ID.fullmatch(call_id):
        raise NotAnEvent("data.call_id is not the id of a call")
    security = data.get("sip_media_security")
    incoming = Incoming(call_id, _message(data), security[:32] if isinstance(security, str) else "")
    return Told(webhook_id, kind, call_id, incoming)


def _message(data: Mapping[str, Any]) -> SipMessage:
    listed = data.get("sip_headers")
    if not isinstance(listed, list):
        raise NotAnEvent("data.sip_headers is no list")
    headers: dict[str, tuple[str, ...]] = {}
    for each in listed[:HEADERS_MAX]:
        name, value = (each.get("name"), each.get("value")) if isinstance(each, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(value, str):
            raise NotAnEvent("data.sip_headers holds something other than name and value")
        key = name.strip().lower()[:80]
        headers[key] = (*headers.get(key, ()), value.strip()[:HEADER_MAX_CHARS])
    return SipMessage("", headers, "")


def opening_of(incoming: Incoming) -> CallOpening:
    """What is known of the call before it is taken."""
    message = incoming.message
    caller, called = _caller(message), _uri(message, "to")
    from_number = phone_number(caller.user) if caller is not None else None
    to_number = _called(message, called)
    sid = message.header("x-twilio-callsid") or ""
    is_twilio = _TWILIO_SID.fullmatch(sid) is not None
    return CallOpening(
        id=incoming.id,
        direction="inbound",
        from_uri=_written(caller),
        to_uri=_written(called),
        from_number=from_number,
        to_number=to_number,
        sip_call_id=(message.header("call-id") or incoming.call_id)[:256],
        carrier_sid=sid if is_twilio else None,
        provider="twilio" if is_twilio else TRUNK,
        trunk=TRUNK,
        locale=locale_of(from_number),
        country=country_of(from_number),
        source="",
        openai_call_id=incoming.call_id,
    )


def _caller(message: SipMessage) -> SipUri | None:
    """Who the network says it is, else who it says itself; nobody where the number is withheld."""
    if "id" in (message.header("privacy") or "").lower().replace(" ", "").split(";"):
        return None
    for name in ("p-asserted-identity", "from"):
        uri = _uri(message, name)
        if uri is not None and uri.user.lower() not in _ANONYMOUS and not uri.host.endswith(".invalid"):
            return uri
    return None


def _called(message: SipMessage, called: SipUri | None) -> str | None:
    """The line of ours that was dialled: To is the project at OpenAI (proj_…) where a trunk points straight there."""
    for uri in (_uri(message, "diversion"), called):
        number = phone_number(uri.user) if uri is not None else None
        if number is not None:
            return number
    return None


def _uri(message: SipMessage, name: str) -> SipUri | None:
    value = message.header(name)
    return parse_uri(value) if value is not None else None


def _written(uri: SipUri | None) -> str:
    return f"{uri.scheme}:{uri.user}@{uri.host}" if uri is not None else ""
