"""What may stand in a log: numbers and secrets do not, whatever is around them; ids, addresses and times do."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.redaction import HIDDEN, Redaction

KEY = "sk-proj-Abc_123-xyz"
redacted = Redaction(["hunter2!", "short", "postgres-password"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("< INVITE from +250788123456 by trunk mtn", "< INVITE from +250*****3456 by trunk mtn"),
        ("To: <sip:+250788123456@192.0.2.1:5060>", "To: <sip:+250*****3456@192.0.2.1:5060>"),
        ("sips:250788123456@mtn.example;user=phone", "sips:********3456@mtn.example;user=phone"),
        ("tel:+1-202-555-0143", "tel:+1-2*******0143"),
        ("called 250788123456.", "called ********3456."),
        ("called +250 788 123 456 twice", "called +250*****3456 twice"),
        (f"refused: Incorrect API key provided: {KEY}", f"refused: Incorrect API key provided: {HIDDEN}"),
        ("Authorization: Bearer abcdef.ghi", f"{HIDDEN} {HIDDEN}"),
        ("header bearer abcdef.ghi", f"header bearer {HIDDEN}"),
        ("postgres://sipua:hunter2!@db/x", f"postgres://{HIDDEN}@db/x"),
        ("postgres://sipua:a:b:c@db/x", f"postgres://{HIDDEN}@db/x"),
        ("host=db password=secret1 user=x", f"host=db {HIDDEN} user=x"),
        ("GET /recordings/7?expires=5&signature=abc123", f"GET /recordings/7?expires=5&{HIDDEN}"),
        ("it said hunter2! twice, hunter2!", f"it said {HIDDEN} twice, {HIDDEN}"),
        ("a short word stays", "a short word stays"),
    ],
)
def test_what_is_hidden(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "call=0d9a3c52-1c41-4a5c-9e4b-123456789012 ended: completed",
        "2026-11-23T01:23:45.123456Z",
        "192.0.2.10:50600 to [2001:db8::1]:5061",
        "session sess_1234567890123 is gone",
        "item_123456789012345",
        "20000 facts, 1073741824B of spool, 86400 s",
        "at 1700000000.123456",
        "no binding for sip:alice@example.com",
        "INVITE refused with 403: source 192.0.2.1 is on no trunk's ACL",
    ],
)
def test_what_is_none_stays(text: str) -> None:
    assert redacted(text) == text


AROUND = ["{}", "from {} by", "<sip:{}@h>", "sip:{}", "tel:{}", '"{}" <x>', "({})", "to={}", "n: {},", "'{}'"]


@given(
    st.from_regex(r"\+[1-9][0-9]{7,13}", fullmatch=True),
    st.sampled_from(
        ["{}", "from {} by", "<sip:{}@h>", "sip:{}", "tel:{}", '"{}" <x>', "({})", "to={}", "n: {},", "'{}'"]
    ),
    st.booleans(),
)
def test_no_number_is_seen_whole(number: str, around: str, has_plus: bool) -> None:
    digits = number.removeprefix("+")
    if not has_plus and len(digits) < 9 and "sip" not in around and "tel" not in around:
        return  # so few digits are anything
    assert digits not in redacted(around.format(number if has_plus else digits))


@given(st.uuids(), st.text())
def test_ids_are_found_by_what_they_are(id: UUID, text: str) -> None:
    assert f"call={id}" in redacted(f"call={id} ended")
    redacted(text)  # of whatever, no error
