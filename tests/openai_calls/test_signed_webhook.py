"""Who signed a webhook, and when: a table, properties, and OpenAI's own SDK as the judge."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import InvalidWebhookSignatureError, OpenAI

from sipua.errors import ConfigError
from sipua.signed_webhook import TOLERANCE_S, Refusal, Stamp, is_signed, read_secrets, stamp_of

KEY, OLD_KEY, STRANGE_KEY = b"0123456789abcdef", b"the key before it", b"somebody else's key"
NOW = 1_795_000_000.0
BODY = b'{"type":"batch.completed","data":{"id":"batch_1"}}'


def secret_of(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


def signed(key: bytes, id: str, timestamp: str, body: bytes) -> str:
    """By the letter of the specification, not by code of ours."""
    digest = hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def headers_of(
    body: bytes = BODY, *, id: str = "wh_1", at: float = NOW, keys: tuple[bytes, ...] = (KEY,)
) -> dict[str, str]:
    stamp = str(int(at))
    return {
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(signed(key, id, stamp, body) for key in keys),
    }


def verdict(headers: dict[str, str], body: bytes = BODY, keys: tuple[bytes, ...] = (KEY,)) -> str:
    stamp = stamp_of(headers, NOW)
    if isinstance(stamp, Refusal):
        return stamp.value
    return "genuine" if is_signed(stamp, body, keys) else Refusal.FORGED.value


GOOD = headers_of()
CASES = {
    "signed": (GOOD, "genuine"),
    "with two keys while one is changed": (headers_of(keys=(OLD_KEY, KEY)), "genuine"),
    "with another version beside it": (
        GOOD | {"webhook-signature": f"v1a,AAAA {GOOD['webhook-signature']} v2,x"}, "genuine",
    ),
    "at the edge of the past": (headers_of(at=NOW - TOLERANCE_S), "genuine"),
    "at the edge of the future": (headers_of(at=NOW + TOLERANCE_S), "genuine"),
    "too old": (headers_of(at=NOW - TOLERANCE_S - 1), "stale"),
    "from the future": (headers_of(at=NOW + TOLERANCE_S + 1), "stale"),
    "by a stranger": (headers_of(keys=(STRANGE_KEY,)), "forged"),
    "for another id": (GOOD | {"webhook-id": "wh_2"}, "forged"),
    "for another second": (GOOD | {"webhook-timestamp": str(int(NOW) + 1)}, "forged"),
    "without an id": ({k: v for k, v in GOOD.items() if k != "webhook-id"}, "unsigned"),
    "without a time": ({k: v for k, v in GOOD.items() if k != "webhook-timestamp"}, "unsigned"),
    "without a signature": ({k: v for k, v in GOOD.items() if k != "webhook-signature"}, "unsigned"),
    "with nothing at all": ({}, "unsigned"),
    "with a time that is none": (GOOD | {"webhook-timestamp": "now"}, "unsigned"),
    "with a time below zero": (GOOD | {"webhook-timestamp": "-1"}, "unsigned"),
    "with a time in another script": (GOOD | {"webhook-timestamp": "١٧٩٥٠٠٠٠٠٠"}, "unsigned"),
    "with an id of blanks": (GOOD | {"webhook-id": "a b"}, "unsigned"),
    "with the bare digest": (GOOD | {"webhook-signature": GOOD["webhook-signature"][3:]}, "unsigned"),
    "with an empty digest": (GOOD | {"webhook-signature": "v1,"}, "unsigned"),
    "behind eight of a stranger": (
        GOOD | {"webhook-signature": " ".join(["v1," + "A" * 43 + "="] * 8 + [GOOD["webhook-signature"]])},
        "forged",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("headers", "expected"), CASES.values(), ids=CASES.keys())
def test_a_webhook(headers: dict[str, str], expected: str) -> None:
    assert verdict(headers) == expected


def test_any_of_our_secrets_counts() -> None:
    assert verdict(headers_of(keys=(OLD_KEY,)), keys=(KEY, OLD_KEY)) == "genuine"
    assert verdict(headers_of(keys=(OLD_KEY,)), keys=(KEY,)) == "forged"


@given(body=st.binary(min_size=1, max_size=200), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_of_the_body_can_be_changed(body: bytes, at: int, bit: int) -> None:
    headers = headers_of(body)
    assert verdict(headers, body) == "genuine"
    place = at % len(body)
    changed = body[:place] + bytes([body[place] ^ 1 << bit]) + body[place + 1 :]
    assert verdict(headers, changed) == "forged"


@given(
    name=st.sampled_from(sorted(GOOD)), at=st.integers(0, 200), by=st.characters(min_codepoint=33, max_codepoint=126)
)  # fmt: skip
def test_no_letter_of_the_headers_can_be_changed(name: str, at: int, by: str) -> None:
    value = GOOD[name]
    place = at % len(value)
    changed = value[:place] + by + value[place + 1 :]
    if changed == value:
        return
    assert verdict(GOOD | {name: changed}) != "genuine"


@given(body=st.text(max_size=80).map(str.encode), id=st.from_regex(r"wh_[a-z0-9]{1,20}", fullmatch=True))
def test_the_sdk_agrees(body: bytes, id: str) -> None:
    """What it takes we take, and what it refuses we refuse: it has the real clock, and no other argument for it."""
    client = OpenAI(api_key="none", webhook_secret=secret_of(KEY))
    now = time.time()
    for key in (KEY, STRANGE_KEY):
        headers = headers_of(body, id=id, at=now, keys=(key,))
        stamp = stamp_of(headers, now)
        assert isinstance(stamp, Stamp)
        try:
            client.webhooks.verify_signature(body, headers)
            is_taken = True
        except InvalidWebhookSignatureError:
            is_taken = False
        assert is_taken == is_signed(stamp, body, (KEY,)) == (key is KEY)


def test_secrets_of_a_file() -> None:
    text = f"# new\n{secret_of(KEY)}\n\n  {secret_of(OLD_KEY)}  \n"
    assert read_secrets("openai_webhook.secret_file", text) == (KEY, OLD_KEY)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 secrets"),
        ("# only a remark", "0 secrets"),
        ("\n".join([secret_of(KEY)] * 9), "9 secrets"),
        ("sk-a-key-of-the-api", "secret 1 does not begin with whsec_"),
        (f"{secret_of(KEY)}\nwhsec_a.b", "secret 2 is no base64"),
        ("whsec_AAAA", "secret 1 is too short"),
        ("whsec_é", "secret 1 is no base64"),
    ],
)
def test_a_file_that_holds_no_secrets_is_refused_without_showing_it(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_secrets("openai_webhook.secret_file", text)
    assert why in str(refused.value)
    assert "openai_webhook.secret_file" in str(refused.value)
    assert "sk-a-key" not in str(refused.value)
    assert "a.b" not in str(refused.value)
