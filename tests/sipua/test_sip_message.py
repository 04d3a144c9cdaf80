"""What is read out of a SIP message's text: headers, URIs, numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.sip_message import SipUri, header_items, mask_number, parse_message, parse_uri, phone_number

INVITE = "\r\n".join(
    [
        "INVITE sip:+250700000001@198.51.100.7 SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1",
        "v: SIP/2.0/UDP 192.0.2.2",
        'f: "Bob" <sip:+250788123456@192.0.2.1>;tag=1',
        "t:<sip:+250700000001@198.51.100.7>",
        "i :  abc@192.0.2.1",
        "Subject: one",
        "\ttwo",
        "X-Twilio-CallSid: CA0123456789",
        "a line without a colon",
        "Content-Length: 6",
        "",
        "v=0",
        "",
        "x",
    ]
)


def test_headers_are_found_in_short_and_long_form_and_any_case() -> None:
    message = parse_message(INVITE)
    assert message.start_line == "INVITE sip:+250700000001@198.51.100.7 SIP/2.0"
    assert len(message.headers["via"]) == 2
    assert message.header("Call-ID") == "abc@192.0.2.1"
    assert message.header("FROM") == '"Bob" <sip:+250788123456@192.0.2.1>;tag=1'
    assert message.header("subject") == "one two"
    assert message.header("x-twilio-callsid") == "CA0123456789"
    assert message.header("P-Asserted-Identity") is None
    assert message.body == "v=0\n\nx"


@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    message = parse_message(text)
    assert all(name == name.lower() and values for name, values in message.headers.items())


URIS = [
    ("sip:bob@192.0.2.1", SipUri("sip", "bob", "192.0.2.1", 0)),
    ("<sip:bob@192.0.2.1:5070;transport=udp>;tag=7", SipUri("sip", "bob", "192.0.2.1", 5070)),
    ("sip:bob@192.0.2.1;tag=7", SipUri("sip", "bob", "192.0.2.1", 0)),
    ("SIPS:bob@Example.org", SipUri("sips", "bob", "Example.org", 0)),
    ("Bob B. <sip:[2001:db8::1]:5060>", SipUri("sip", "", "[2001:db8::1]", 5060)),
    ("<sip:+1555;phone-context=x@h>", SipUri("sip", "+1555;phone-context=x", "h", 0)),
    ("<sip:bob:secret@h>", SipUri("sip", "bob", "h", 0)),
    ("<tel:+250-788-123456;phone-context=a>", SipUri("tel", "+250-788-123456", "", 0)),
    ('"Anonymous" <sip:anonymous@anonymous.invalid>', SipUri("sip", "anonymous", "anonymous.invalid", 0)),
    ('"sip:+250700000000@bank" <sip:+33600000000@h>', SipUri("sip", "+33600000000", "h", 0)),
    (r'"a \" <sip:evil@x>" <sip:true@h>', SipUri("sip", "true", "h", 0)),
    ("mailto:bob@h", None),
    ("", None),
]


@pytest.mark.parametrize(("value", "expected"), URIS)
def test_the_uri_of_a_header(value: str, expected: SipUri | None) -> None:
    assert parse_uri(value) == expected


@given(st.text())
def test_a_display_name_never_becomes_the_caller(name: str) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    found = parse_uri(f'"{quoted}" <sip:true@h>')
    assert found == SipUri("sip", "true", "h", 0)


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ("<sip:a@b>;q=1, <sip:c@d>", ["<sip:a@b>;q=1", "<sip:c@d>"]),
        ('"Doe, \\", J" <sip:a@b;x=1,2>,sip:c@d', ['"Doe, \\", J" <sip:a@b;x=1,2>', "sip:c@d"]),
        (" , *,,", ["*"]),
        ('"never closed, <sip:a@b>', ['"never closed, <sip:a@b>']),
        ("<sip:a@b, sip:c@d", ["<sip:a@b, sip:c@d"]),
    ],
)
def test_a_list_is_told_apart_at_its_commas(value: str, items: list[str]) -> None:
    assert header_items((value, "last")) == [*items, "last"]


@pytest.mark.parametrize(
    ("user", "number"),
    [
        ("+250788123456", "+250788123456"),
        ("%2B250788123456", "+250788123456"),
        ("%2b250788123456", "+250788123456"),
        ("+1 (555) 010-99.99", "+15550109999"),
        ("+250788123456;phone-context=x", "+250788123456"),
        ("0788123456", "0788123456"),
        ("112", None),  # a service, not a number that could be called back
        ("+1-----", None),
        ("1234567890123456", None),  # E.164 ends at 15
        ("bob", None),
        ("٠٧٨٨١٢٣٤٥٦", None),
        ("", None),
    ],
)
def test_a_telephone_number_is_told_from_a_name(user: str, number: str | None) -> None:
    assert phone_number(user) == number


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+250788123456", "+250*****3456"),
        ("+25078812", "+250*8812"),
        ("+2507881", "+250****"),
        ("+1", "+1*"),
        ("0788123456", "******3456"),
        ("1234", "****"),
        ("", "-"),
        (None, "-"),
    ],
)
def test_a_number_is_masked(number: str | None, shown: str) -> None:
    assert mask_number(number) == shown


@given(st.from_regex(r"\+?[0-9]{5,15}", fullmatch=True))
def test_a_mask_hides_something_and_keeps_the_length(number: str) -> None:
    shown = mask_number(number)
    assert len(shown) == len(number)
    assert "*" in shown
