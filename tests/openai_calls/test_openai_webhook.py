"""What webhooks say: kinds, and calls with the numbers that their SIP headers name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import webhooks
from openai.types.webhooks import RealtimeCallIncomingWebhookEvent

from sipua.openai_webhook import KINDS, NotAnEvent, opening_of, read_event

CALLER, CALLED = "+250788000123", "+250788000001"
SID = "CA" + "0123456789abcdef" * 2


def event(*headers: tuple[str, str], call_id: str = "rtc_1", **data: Any) -> bytes:
    body = {
        "object": "event",
        "id": "evt_1",
        "type": "realtime.call.incoming",
        "created_at": 1_795_000_000,
        "data": {
            "call_id": call_id,
            "sip_headers": [{"name": name, "value": value} for name, value in headers],
            **data,
        },
    }
    RealtimeCallIncomingWebhookEvent.model_validate(body)
    return orjson.dumps(body)


FROM = ("From", f'"Ann" <sip:{CALLER}@carrier.example.org>;tag=1')
TO = ("To", f"<sip:{CALLED}@sip.api.openai.com;transport=tls>")
HEADERS = {
    "as a trunk sends them": ([FROM, TO], CALLER, CALLED),
    "without brackets": ([("From", f"sip:{CALLER}@x.example"), ("To", f"sip:{CALLED}@y.example")], CALLER, CALLED),
    "who the network says it is": (
        [("From", "<sip:anonymous@anonymous.invalid>"), ("P-Asserted-Identity", f"<sip:{CALLER}@x.example>"), TO],
        CALLER, CALLED,
    ),
    "who the network says it is, as a tel URI": (
        [("From", "<sip:desk@x.example>"), ("P-Asserted-Identity", f"<tel:{CALLER}>"), TO], CALLER, CALLED,
    ),
    "withheld": (
        [FROM, ("P-Asserted-Identity", f"<sip:{CALLER}@x.example>"), ("Privacy", "user; id"), TO], None, CALLED,
    ),
    "anonymous": ([("From", '"Anonymous" <sip:anonymous@anonymous.invalid>'), TO], None, CALLED),
    "a name": ([("From", "<sip:ann@x.example>"), TO], None, CALLED),
    "to the project": ([FROM, ("To", "<sip:proj_abc@sip.api.openai.com>")], CALLER, None),
    "diverted to the project": (
        [FROM, ("To", "<sip:proj_abc@sip.api.openai.com>"), ("Diversion", f"<sip:{CALLED}@x.example>;reason=unknown")],
        CALLER, CALLED,
    ),
    "none": ([], None, None),
    "nonsense": ([("From", "\0<<>>"), ("To", '"')], None, None),
}  # fmt: skip


@pytest.mark.parametrize(("headers", "caller", "called"), HEADERS.values(), ids=HEADERS.keys())
def test_who_calls_whom(headers: list[tuple[str, str]], caller: str | None, called: str | None) -> None:
    told = read_event("wh_1", event(*headers))
    assert told.incoming is not None
    opening = opening_of(told.incoming)
    assert (opening.from_number, opening.to_number, opening.openai_call_id) == (caller, called, "rtc_1")
    assert opening.locale == ("rw" if caller else "en")


def test_a_call_by_twilio_has_its_sid() -> None:
    told = read_event("wh_1", event(FROM, TO, ("X-Twilio-CallSid", SID), ("Call-ID", "abc@x")))
    assert told.incoming is not None
    opening = opening_of(told.incoming)
    assert (opening.provider, opening.carrier_sid, opening.sip_call_id) == ("twilio", SID, "abc@x")
    told = read_event("wh_1", event(FROM, ("X-Twilio-CallSid", "'; DROP TABLE voice_calls")))
    assert told.incoming is not None
    opening = opening_of(told.incoming)
    assert (opening.provider, opening.carrier_sid) == ("openai", None)


def test_a_delivery_that_is_repeated_is_the_same_and_another_webhook_is_the_same_call() -> None:
    first, again, other = (read_event(id, event(FROM, TO)) for id in ("wh_1", "wh_1", "wh_2"))
    assert first.event_id == again.event_id != other.event_id
    assert first.incoming is not None
    assert other.incoming is not None
    assert first.incoming.id == other.incoming.id
    assert opening_of(first.incoming).id == first.incoming.id


def test_headers_that_could_authorise_are_not_kept() -> None:
    told = read_event(
        "wh_1", event(FROM, ("Proxy-Authorization", "Digest secret"), sip_media_security="srtp")
    )
    assert told.payload["sip_headers"] == {"from": [FROM[1]]}
    assert told.payload["sip_media_security"] == "srtp"


def test_headers_are_bounded() -> None:
    told = read_event("wh_1", event(*[(f"X-{n}", "x" * 5000) for n in range(500)]))
    assert told.incoming is not None
    assert len(told.incoming.message.headers) == 64
    assert max(len(each[0]) for each in told.incoming.message.headers.values()) == 1024


BAD: dict[str, Any] = {
    "no JSON": b"{",
    "a list": b"[]",
    "no type": b'{"data":{}}',
    "no data": b'{"type":"batch.completed"}',
    "no call": b'{"type":"realtime.call.incoming","data":{"sip_headers":[]}}',
    "a path as call": b'{"type":"realtime.call.incoming","data":{"call_id":"../accept","sip_headers":[]}}',
    "an empty call": b'{"type":"realtime.call.incoming","data":{"call_id":"","sip_headers":[]}}',
    "no headers": b'{"type":"realtime.call.incoming","data":{"call_id":"rtc_1"}}',
    "headers of numbers": b'{"type":"realtime.call.incoming","data":{"call_id":"rtc_1","sip_headers":[1]}}',
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD.keys())
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(NotAnEvent):
        read_event("wh_1", body)


KEYS = ["type", "data", "call_id", "sip_headers", "name", "value"]
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_an_event_or_refused(value: Any) -> None:
    for body in ({"type": "realtime.call.incoming", "data": value}, value):
        try:
            told = read_event("wh_1", orjson.dumps(body, option=orjson.OPT_PASSTHROUGH_DATACLASS))
        except (NotAnEvent, TypeError):
            continue
        if told.incoming is not None:
            opening_of(told.incoming)


def test_kinds_are_those_of_the_sdk() -> None:
    """A kind that we do not know is "other" in metrics."""
    known: set[str] = set()
    for name in dir(webhooks):
        if name.endswith("WebhookEvent") and name != "UnwrapWebhookEvent":
            model = getattr(webhooks, name)
            known |= set(get_args(model.model_fields["type"].annotation))
    assert known - KINDS == set()
    assert Path(webhooks.__file__).exists()
