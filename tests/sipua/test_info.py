"""Keys by INFO: a table of bodies as they are sent in the field, and what each is answered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.dtmf import DIGITS
from sipua.info import PLAIN, RELAY, body_of, read_info
from sipua.sip_message import parse_message


def info(body: str, kind: str, more: str = "") -> str:
    head = f"INFO sip:a@b SIP/2.0\r\n{more}" + (f"Content-Type: {kind}\r\n" if kind else "")
    return f"{head}\r\n{body}"


@pytest.mark.parametrize(
    ("body", "kind", "digit"),
    [
        ("Signal=5\r\nDuration=160\r\n", RELAY, "5"),
        ("Signal= 5\r\nDuration= 160", RELAY, "5"),
        ("signal=#\nduration=100", RELAY, "#"),
        ("Signal=*", RELAY, "*"),
        ("Duration=160\r\nSignal=d", RELAY, "D"),
        ("Signal=10", RELAY, "*"),
        ("Signal=11", RELAY, "#"),
        ("Signal=15", RELAY, "D"),
        ("Signal=5\r\nDuration=99999999999999999999", RELAY, "5"),
        ("Signal=5", "Application/DTMF-Relay; charset=utf-8", "5"),
        ("5", PLAIN, "5"),
        ("11\r\n", PLAIN, "#"),
        ("Signal=5\r\nDuration=160", PLAIN, "5"),
    ],
)
def test_a_key(body: str, kind: str, digit: str) -> None:
    reading = read_info(parse_message(info(body, kind)))
    assert (reading.code, reading.digit) == (200, digit)
    assert digit not in repr(reading).replace("200", "")  # for logs


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        ("", "", 200),
        ("Signal=!", RELAY, 200),
        ("Signal=16", RELAY, 200),
        ("", RELAY, 400),
        ("", PLAIN, 400),
        ("5", RELAY, 400),
        ("Signal=", RELAY, 400),
        ("Signal=55", RELAY, 400),
        ("Signal=17", RELAY, 400),
        ("Signal=\u0665", RELAY, 400),
        ("Signal=\u0661\u0661", RELAY, 400),
        ("Signal=5\r\nDuration=-1", RELAY, 400),
        ("Signal=5\r\nDuration=soon", RELAY, 400),
        ("Signal=5" + " " * 1000 + "x", RELAY, 400),
        ("5", "text/plain", 415),
        ("5", "", 415),
        ("<a/>", "application/media_control+xml", 415),
    ],
)
def test_no_key(body: str, kind: str, code: int) -> None:
    reading = read_info(parse_message(info(body, kind)))
    assert (reading.code, reading.digit) == (code, "")
    assert bool(reading.headers) == (code == 415)


def test_an_info_package_is_not_ours() -> None:
    reading = read_info(parse_message(info("5", PLAIN, "Info-Package: keys\r\n")))
    assert (reading.code, reading.digit, reading.headers) == (469, "", (("Recv-Info", ""),))


@pytest.mark.parametrize("digit", DIGITS)
def test_what_we_send_we_read(digit: str) -> None:
    assert read_info(parse_message(info(body_of(digit, 160), RELAY))).digit == digit


@given(st.text(), st.sampled_from([RELAY, PLAIN, "", "text/plain"]))
def test_nothing_is_raised(body: str, kind: str) -> None:
    reading = read_info(parse_message(info(body, kind)))
    assert reading.code in (200, 400, 415)
    assert reading.digit == "" or reading.digit in DIGITS
