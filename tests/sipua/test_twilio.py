"""Twilio's webhooks as values; its own package judges signatures and builds the TwiML that ours is compared with."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import MultiDict
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import VoiceResponse

from sipua.sip_message import parse_message
from sipua.switchboard import opening_of
from sipua.trunk import Trunk
from sipua.twilio import twiml
from sipua.twilio.calls import WORDS, NotTwilio, begun, call_of, told
from sipua.twilio.signature import is_signed
from sipua.twilio_settings import TwilioSettings
from storage.facts import CallChanged, CallCreated, CallEnded, Event

TOKEN = "12345678901234567890123456789012"
JUDGE = RequestValidator(TOKEN)
T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SID, LEG = "CA" + "1" * 32, "CA" + "2" * 32
URLS = [
    "https://voice.example.com/twilio/voice",
    "https://voice.example.com:8443/functions/v1/twilio/status?x=1&y=a%20b",
    "http://192.0.2.1/twilio/voice",
    "https://voice.example.com:443/twilio/voice",
]
FIELDS = st.lists(
    st.tuples(st.sampled_from(["CallSid", "From", "a", "A", "Body"]), st.text(max_size=8)), max_size=6
)

# ---- signatures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("algorithm", ["HMAC_SHA1", "HMAC_SHA256"])
def test_what_twilio_signs_is_signed(url: str, algorithm: str) -> None:
    @given(FIELDS)
    def check(pairs: list[tuple[str, str]]) -> None:
        pairs = [(name, value.encode("utf-8", "replace").decode()) for name, value in pairs]
        signature = JUDGE.compute_signature(url, MultiDict(pairs), algorithm)
        settings = "" if algorithm == "HMAC_SHA1" else f"key=webhooks_sharedkey_1,algorithm={algorithm}"
        assert is_signed(TOKEN, url, pairs, b"", signature, settings)
        assert JUDGE.validate(url, MultiDict(pairs), signature, algorithm)
        assert not is_signed(TOKEN[1:], url, pairs, b"", signature, settings)
        assert (
            not is_signed(TOKEN, url, [*pairs, ("a", "more")], b"", signature, settings)
            or ("a", "more") in pairs
        )
        assert not is_signed(TOKEN, url + "z", pairs, b"", signature, settings)

    check()


@pytest.mark.parametrize(("signed_with", "seen_as"), [
    ("https://h.example/x", "https://h.example:443/x"),
    ("https://h.example:443/x", "https://h.example/x"),
    ("http://h.example/x", "http://h.example:80/x"),
    ("https://h.example:8443/x", "https://h.example:8443/x"),
    ("https://h.example/x", "https://h.example:8443/x"),
])  # fmt: skip
def test_the_port_may_be_left_out(signed_with: str, seen_as: str) -> None:
    signature = JUDGE.compute_signature(signed_with, {})
    assert is_signed(TOKEN, seen_as, [], b"", signature)
    assert JUDGE.validate(seen_as, {}, signature)


@pytest.mark.parametrize("body", [b'{"a": 1}', b"", "é".encode()])
def test_a_json_body_is_signed_by_its_hash(body: bytes) -> None:
    url = f"https://h.example/x?bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = JUDGE.compute_signature(url, {})
    assert is_signed(TOKEN, url, [], body, signature)
    assert JUDGE.validate(url, body.decode(), signature)
    assert not is_signed(TOKEN, url, [], body + b" ", signature)


@pytest.mark.parametrize("signature", ["", "x", "é", "=" * 28, "A" * 9999])
def test_what_is_no_signature_is_none(signature: str) -> None:
    assert not is_signed(TOKEN, URLS[0], [("CallSid", SID)], b"", signature)
    assert not is_signed(TOKEN, URLS[0], [], b"", JUDGE.compute_signature(URLS[0], {}), "algorithm=NONE")


# ---- TwiML -----------------------------------------------------------------------------------------------

SETTINGS = TwilioSettings(
    auth_token_file="token", sip_uri="sip:agent@192.0.2.1:5061;transport=tls", timeout_s=25,
    apology='Sorry <now> & "later"',
)  # fmt: skip


def same(ours: str, theirs: Any) -> bool:
    return ElementTree.canonicalize(ours) == ElementTree.canonicalize(str(theirs))


def test_a_call_is_dialled_with_its_own_sid() -> None:
    after, status = "https://h.example/voice?a=1&b=2", "https://h.example/status"
    response = VoiceResponse()
    dialled = response.dial(answer_on_bridge=True, timeout=25, action=after, method="POST")
    dialled.sip(
        f"sip:agent@192.0.2.1:5061;transport=tls?X-Parent-CallSid={SID}", status_callback=status,
        status_callback_event="initiated ringing answered completed", status_callback_method="POST",
    )  # fmt: skip
    assert same(twiml.dial(SETTINGS, SID, after=after, status=status), response)


def test_who_never_reached_us_hears_an_apology_and_who_did_does_not() -> None:
    response = VoiceResponse()
    response.say('Sorry <now> & "later"', language="en-US")
    response.hangup()
    assert same(twiml.over(SETTINGS, was_answered=False), response)
    ended = VoiceResponse()
    ended.hangup()
    assert same(twiml.over(SETTINGS, was_answered=True), ended)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_whatever_is_said_is_xml(apology: str) -> None:
    said = SETTINGS.model_copy(update={"apology": apology})
    root = ElementTree.fromstring(twiml.over(said, was_answered=False))
    assert (root.findtext("Say") or "") == apology


@pytest.mark.parametrize(
    "uri", ["agent@192.0.2.1", "sip:a b@192.0.2.1", 'sip:a@h"', "sip:a@h?X=1", "tel:+12025550100"]
)
def test_what_is_no_sip_uri_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="sip_uri"):
        TwilioSettings(auth_token_file="token", sip_uri=uri)


# ---- statuses --------------------------------------------------------------------------------------------

CALL = {"CallSid": SID, "From": "+12025550101", "To": "+12025550100", "Direction": "inbound"}
OF_LEG = {"CallSid": LEG, "ParentCallSid": SID, "From": "+12025550101", "To": "sip:agent@192.0.2.1", "Direction":
          "outbound-dial"}  # fmt: skip


@pytest.mark.parametrize(("word", "status"), WORDS.items())
def test_every_word_of_twilio_is_one_of_the_schema(word: str, status: str) -> None:
    facts = told({**CALL, "CallStatus": word, "SequenceNumber": "3", "CallDuration": "17"}, T0)
    [event] = [fact for fact in facts if isinstance(fact, Event) and fact.type == "webhook"]
    assert event.payload["CallStatus"] == word
    ends = [fact for fact in facts if isinstance(fact, CallEnded)]
    if not ends:
        assert [fact.status for fact in facts if isinstance(fact, CallChanged)] == [status]
    else:
        assert [(end.status, end.duration_seconds, end.without_leg) for end in ends] == [(status, 17, True)]
    assert facts == told({**CALL, "CallStatus": word, "SequenceNumber": "3", "CallDuration": "17"}, T0)
    assert "+1202" not in str(event.payload)


def test_a_leg_is_the_call_whose_leg_it_is() -> None:
    facts = told({**OF_LEG, "CallStatus": "ringing", "SequenceNumber": "1"}, T0)
    assert {fact.call_id for fact in facts if isinstance(fact, CallChanged | Event)} == {call_of(SID)}
    assert not [fact for fact in facts if isinstance(fact, CallCreated)]


def test_a_call_begins_with_its_numbers() -> None:
    [created, *_] = begun(CALL, T0)
    assert isinstance(created, CallCreated)
    assert (created.twilio_call_sid, created.from_e164, created.to_e164) == (
        SID,
        "+12025550101",
        "+12025550100",
    )
    [hidden, *_] = begun({**CALL, "From": "anonymous", "To": "client:x"}, T0)
    assert isinstance(hidden, CallCreated)
    assert (hidden.from_e164, hidden.to_e164) == (None, None)


@pytest.mark.parametrize("fields", [
    {}, {"CallSid": ""}, {"CallSid": "a b"}, {"CallSid": "x" * 101}, {"CallSid": SID, "CallStatus": ""},
    {"CallSid": SID, "CallStatus": "Completed"},
])  # fmt: skip
def test_what_twilio_does_not_send_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(NotTwilio, match=r"CallSid|CallStatus"):
        told(fields, T0)


@pytest.mark.parametrize(
    ("duration", "seconds"), [("", 0), ("-1", 0), ("9" * 50, 0), ("999999999", 604_800), ("7", 7)]
)
def test_a_duration_is_a_number_of_seconds(duration: str, seconds: int) -> None:
    facts = told({**CALL, "CallStatus": "completed", "CallDuration": duration}, T0)
    assert [fact.duration_seconds for fact in facts if isinstance(fact, CallEnded)] == [seconds]


INVITE = "INVITE sip:agent@192.0.2.1 SIP/2.0\r\nCall-ID: leg@twilio\r\nX-Twilio-CallSid: {leg}\r\n{more}\r\n"


@pytest.mark.parametrize(
    ("provider", "more", "sid"),
    [
        ("twilio", f"X-Parent-CallSid: {SID}\r\n", SID),
        ("twilio", "", LEG),
        ("loopback", f"X-Parent-CallSid: {SID}\r\n", None),  # who is no Twilio says nothing of its calls
    ],
)
def test_a_leg_that_our_twiml_has_dialled_is_the_call_that_it_names(
    provider: str, more: str, sid: str | None
) -> None:
    trunk = Trunk.model_validate({"schema": 1, "name": "t", "provider": provider, "domain": "carrier.test"})
    message = parse_message(INVITE.format(leg=LEG, more=more))
    assert opening_of(UUID(int=1), message, ("192.0.2.9", 5060), trunk).carrier_sid == sid
