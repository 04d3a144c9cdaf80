"""The digest of callers: the RFC's vectors, what is proven, and what no replay, guess or age gets through."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.digest import (
    NONCE_LIFETIME_S,
    REALM,
    REMEMBERED,
    Algorithm,
    Digest,
    Proof,
    Request,
    parse_credentials,
    response_of,
)
from sipua.sip_events import Credential

BOTH: tuple[Algorithm, ...] = ("SHA-256", "MD5")
PHONE = Credential(REALM, "phone", "correct horse")
URI = "sip:agent@192.0.2.1:5060"
NOW = 1000.0


def nonce_of(digest: Digest, now: float = NOW) -> str:
    """The nonce of a challenge, which all its headers share."""
    nonces = {
        re.findall('nonce="([^"]+)"', value)[0] for _, value in digest.challenge(BOTH, now, stale=False)
    }
    (nonce,) = nonces
    return str(nonce)


def answer(nonce: str, credential: Credential = PHONE, *, algorithm: str = "SHA-256", **changed: str) -> str:
    """An Authorization; ``changed`` replaces parameters, before the response is computed."""
    values = {
        "realm": REALM, "nonce": nonce, "uri": URI, "nc": "00000001", "cnonce": "c", "qop": "auth",
        "username": credential.user, "algorithm": algorithm,
    } | changed  # fmt: skip
    values.setdefault("response", response_of(algorithm, credential, "INVITE", values))
    plain = ("nc", "qop", "algorithm")
    return "Digest " + ", ".join(f"{k}={v}" if k in plain else f'{k}="{v}"' for k, v in values.items())


def asked(*credentials: str, method: str = "INVITE", uri: str = URI) -> Request:
    return Request(method, uri, credentials, BOTH)


@pytest.mark.parametrize(
    ("algorithm", "realm", "user", "password", "nonce", "cnonce", "response"),
    [
        (
            "MD5", "http-auth@example.org", "Mufasa", "Circle of Life",
            "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "8ca523f5e9506fed4657c9700eebdbec",
        ),
        (
            "SHA-256", "http-auth@example.org", "Mufasa", "Circle of Life",
            "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
        (
            "MD5", "testrealm@host.com", "Mufasa", "Circle Of Life", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "0a4f113b",
            "6629fae49393a05397450978507c4ef1",
        ),
    ],
    ids=["RFC 7616 3.9.1 MD5", "RFC 7616 3.9.1 SHA-256", "RFC 2617 3.5"],
)  # fmt: skip
def test_the_vectors_of_the_rfcs(
    algorithm: str, realm: str, user: str, password: str, nonce: str, cnonce: str, response: str
) -> None:
    given = {"uri": "/dir/index.html", "nonce": nonce, "nc": "00000001", "cnonce": cnonce, "qop": "auth"}
    assert response_of(algorithm, Credential(realm, user, password), "GET", given) == response


def test_a_challenge_per_algorithm_the_better_first() -> None:
    headers = Digest(b"s").challenge(BOTH, NOW, stale=True)
    assert [name for name, _ in headers] == ["WWW-Authenticate"] * 2
    assert [re.findall("algorithm=([A-Z0-9-]+)", value)[0] for _, value in headers] == ["SHA-256", "MD5"]
    for _, value in headers:
        parsed = parse_credentials(value)
        assert (parsed["realm"], parsed["qop"], parsed["stale"]) == (REALM, "auth", "true")


@pytest.mark.parametrize("algorithm", BOTH)
def test_who_knows_the_password_is_let_in_once_per_count(algorithm: str) -> None:
    digest = Digest(b"s")
    nonce = nonce_of(digest)
    first = asked(answer(nonce, algorithm=algorithm))
    assert digest.judge(first, PHONE, NOW) is Proof.PROVEN
    assert digest.judge(first, PHONE, NOW) is Proof.STALE
    assert digest.judge(asked(answer(nonce, nc="0000000A")), PHONE, NOW) is Proof.PROVEN
    assert digest.judge(asked(answer(nonce, nc="00000009")), PHONE, NOW) is Proof.STALE


def test_without_algorithm_it_is_md5() -> None:
    digest = Digest(b"s")
    text = answer(nonce_of(digest), algorithm="MD5").replace(", algorithm=MD5", "")
    assert digest.judge(asked(text), PHONE, NOW) is Proof.PROVEN


@pytest.mark.parametrize(
    "credentials",
    [
        (),
        ("Basic cGhvbmU6",),
        ("Digest",),
        ('Digest realm="elsewhere", username="phone"',),
        ("Digest realm",),
    ],
)
def test_what_answers_nothing_of_ours_is_no_try(credentials: tuple[str, ...]) -> None:
    assert Digest(b"s").judge(asked(*credentials), PHONE, NOW) is Proof.NOT_TRIED


def test_ours_is_found_among_those_for_proxies() -> None:
    digest = Digest(b"s")
    other = 'Digest realm="proxy", username="u", nonce="n", uri="u", response="r"'
    assert digest.judge(asked(other, answer(nonce_of(digest))), PHONE, NOW) is Proof.PROVEN


@pytest.mark.parametrize(
    "changed",
    [
        {"username": "Phone"}, {"response": "0" * 64}, {"response": ""}, {"qop": "auth-int"}, {"nc": "1"},
        {"nc": "0000000x"}, {"uri": "sip:other@192.0.2.1:5060"}, {"uri": "sip:agent@192.0.2.2:5060"},
        {"uri": "sip:agent@192.0.2.1:5061"}, {"uri": "agent"}, {"response": "\N{DIGIT NINE}é\udc80"},
    ],
)  # fmt: skip
def test_what_is_wrong_in_any_way_is_refused(changed: dict[str, str]) -> None:
    digest = Digest(b"s")
    assert digest.judge(asked(answer(nonce_of(digest), PHONE, **changed)), PHONE, NOW) is Proof.WRONG


def test_another_method_and_an_algorithm_that_was_not_offered_are_wrong() -> None:
    digest = Digest(b"s")
    text = answer(nonce_of(digest))
    assert digest.judge(asked(text, method="BYE"), PHONE, NOW) is Proof.WRONG
    assert digest.judge(Request("INVITE", URI, (text,), ("MD5",)), PHONE, NOW) is Proof.WRONG
    assert digest.judge(
        asked(answer(nonce_of(digest), qop="auth").replace("qop=auth, ", "")), PHONE, NOW
    ) is (Proof.WRONG)


def test_a_parameter_named_twice_is_no_digest() -> None:
    digest = Digest(b"s")
    text = answer(nonce_of(digest)) + ', username="phone"'
    assert digest.judge(asked(text), PHONE, NOW) is Proof.NOT_TRIED


def test_a_nonce_ages() -> None:
    digest = Digest(b"s")
    text = answer(nonce_of(digest))
    assert digest.judge(asked(text), PHONE, NOW + NONCE_LIFETIME_S) is Proof.STALE
    assert digest.judge(asked(text), PHONE, NOW + NONCE_LIFETIME_S - 0.01) is Proof.PROVEN


def test_the_nonce_of_another_process_is_stale_to_who_knows_the_password_and_else_wrong() -> None:
    nonce = nonce_of(Digest(b"before the restart"))
    assert Digest(b"s").judge(asked(answer(nonce)), PHONE, NOW) is Proof.STALE
    wrong = Credential(REALM, PHONE.user, "wrong")
    assert Digest(b"s").judge(asked(answer(nonce, wrong)), PHONE, NOW) is Proof.WRONG


@given(st.text(st.characters(codec="ascii", exclude_characters='"\\\r\n'), max_size=60))
def test_no_nonce_can_be_made_up(nonce: str) -> None:
    assert Digest(b"s").judge(asked(answer(nonce)), PHONE, 1.0) is Proof.STALE


@given(st.text(max_size=80))
def test_whatever_stands_in_the_header_proves_nothing(text: str) -> None:
    assert Digest(b"s").judge(asked("Digest " + text), PHONE, NOW) in (Proof.NOT_TRIED, Proof.WRONG)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=40))
def test_no_count_of_a_nonce_is_good_twice(tries: list[tuple[int, int]]) -> None:
    digest = Digest(b"s")
    nonces = [nonce_of(digest) for _ in range(4)]
    proven = [
        (which, count)
        for which, count in tries
        if digest.judge(asked(answer(nonces[which], nc=f"{count:08x}")), PHONE, NOW) is Proof.PROVEN
    ]
    assert len(proven) == len(set(proven))
    assert set(proven) >= {(which, max(c for w, c in tries if w == which)) for which, _ in tries}


def test_memory_is_bounded_and_what_fell_out_is_no_way_in() -> None:
    digest = Digest(b"s")
    texts = [answer(nonce_of(digest, NOW + i / 1000)) for i in range(REMEMBERED + 10)]
    now = NOW + 10
    assert all(digest.judge(asked(text), PHONE, now) is Proof.PROVEN for text in texts)
    assert {digest.judge(asked(text), PHONE, now) for text in texts} == {Proof.STALE}
    assert digest.judge(asked(answer(nonce_of(digest, now))), PHONE, now) is Proof.PROVEN
    assert len(digest._counts) == REMEMBERED


NAMES, VALUES = st.text("abcde", min_size=1, max_size=8), st.text(st.characters(codec="ascii"), max_size=20)


@given(st.dictionaries(NAMES, VALUES))
def test_quoted_parameters_are_read_as_they_were_written(values: dict[str, str]) -> None:
    quoted = (k + '="' + re.sub(r'(["\\])', r"\\\1", v) + '"' for k, v in values.items())
    assert parse_credentials("Digest " + ", ".join(quoted)) == values
