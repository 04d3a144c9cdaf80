"""The SIP-code policy, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.trunks.policy import (
    CODES,
    NEVER,
    Blame,
    CodePolicy,
    Fault,
    HeaderMatch,
    Outcome,
    Verdict,
    decide,
    redirect_uris,
    retry_after,
)

PLAIN = CodePolicy()
V, B = Verdict, Blame

ROWS = [
    (200, V.ANSWERED, B.CLEAR), (202, V.ANSWERED, B.CLEAR),
    (401, V.NEXT_TRUNK, B.OPEN_TRUNK), (407, V.NEXT_TRUNK, B.OPEN_TRUNK), (403, V.FINAL, B.CLEAR),
    (400, V.FINAL, B.CLEAR), (404, V.FINAL, B.CLEAR), (410, V.FINAL, B.CLEAR), (480, V.FINAL, B.CLEAR),
    (484, V.FINAL, B.CLEAR), (486, V.FINAL, B.CLEAR), (487, V.FINAL, B.CLEAR), (499, V.FINAL, B.CLEAR),
    (408, V.NEXT, B.COUNT), (500, V.NEXT, B.COUNT), (502, V.NEXT, B.COUNT), (503, V.NEXT, B.COUNT),
    (504, V.NEXT, B.COUNT), (599, V.NEXT, B.COUNT), (501, V.FINAL, B.CLEAR), (505, V.FINAL, B.CLEAR),
    (415, V.CODEC, B.CLEAR), (488, V.CODEC, B.CLEAR), (606, V.CODEC, B.CLEAR),
    (600, V.FINAL, B.CLEAR), (603, V.FINAL, B.CLEAR), (604, V.FINAL, B.CLEAR), (607, V.FINAL, B.CLEAR),
    (608, V.FINAL, B.CLEAR), (699, V.FINAL, B.CLEAR), (302, V.FINAL, B.CLEAR),  # without a Contact
]  # fmt: skip


@pytest.mark.parametrize(("code", "verdict", "blame"), ROWS)
def test_a_code(code: int, verdict: Verdict, blame: Blame) -> None:
    decision = decide(Outcome(code), PLAIN)
    assert (decision.verdict, decision.blame) == (verdict, blame)
    assert decision.reason
    assert decision.alert == (blame is B.OPEN_TRUNK)


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_moves_on_and_is_counted(fault: Fault) -> None:
    decision = decide(Outcome(fault=fault), PLAIN)
    assert decision.verdict is V.NEXT
    blame = {Fault.NO_PROGRESS: B.COUNT, Fault.REDIRECT: B.NONE}
    assert decision.blame is blame.get(fault, B.OPEN)
    assert decision.alert == (fault is Fault.TLS)


def test_403_is_ours_once_credentials_were_sent() -> None:
    decision = decide(Outcome(403, authenticated=True), PLAIN)
    assert (decision.verdict, decision.blame, decision.alert) == (V.NEXT_TRUNK, B.OPEN_TRUNK, True)


TWILIO = CodePolicy(fatal_match=(HeaderMatch(603, "X-Twilio-Error"),))


@pytest.mark.parametrize(
    ("code", "headers", "policy", "verdict"),
    [
        (603, {"x-twilio-error": ("64001",)}, TWILIO, V.NEXT_TRUNK),
        (603, {}, TWILIO, V.FINAL),
        (603, {"x-twilio-error": ("64001",)}, PLAIN, V.FINAL),
        (486, {"x-twilio-error": ("64001",)}, TWILIO, V.FINAL),
    ],
)
def test_603_moves_on_only_with_the_header(
    code: int, headers: dict[str, tuple[str, ...]], policy: CodePolicy, verdict: Verdict
) -> None:
    decision = decide(Outcome(code, headers=headers), policy)
    assert decision.verdict is verdict
    assert decision.alert == (verdict is V.NEXT_TRUNK)


def test_a_trunks_own_codes() -> None:
    policy = CodePolicy(failover_codes=frozenset({480, 488}), final_codes=frozenset({500}))
    assert [decide(Outcome(code), policy).verdict for code in (480, 488, 500, 503)] == [
        V.NEXT,
        V.NEXT,
        V.FINAL,
        V.NEXT,
    ]


@pytest.mark.parametrize("codes", [{"failover_codes": {486}}, {"failover_codes": {603}}, {"final_codes": {180}},
                                   {"failover_codes": {480}, "final_codes": {480}}])  # fmt: skip
def test_an_impossible_policy_is_refused(codes: dict[str, set[int]]) -> None:
    with pytest.raises(ValueError, match=r"elsewhere|no final response|and in final_codes"):
        CodePolicy(**{name: frozenset(each) for name, each in codes.items()})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "policy"), [(408, PLAIN), (480, CodePolicy(failover_codes=frozenset({480})))]
)
def test_nobody_answered_once_it_has_rung(code: int, policy: CodePolicy) -> None:
    assert decide(Outcome(code), policy).verdict is V.NEXT
    decision = decide(Outcome(code, rang=True), policy)
    assert (decision.verdict, decision.reason, decision.blame) == (V.FINAL, "no_answer", B.CLEAR)


@given(st.integers(300, 699), st.sampled_from([*Fault, None]), st.booleans())
def test_nothing_is_re_routed_after_media(code: int, fault: Fault | None, authenticated: bool) -> None:
    outcome = Outcome(
        code, fault, {"contact": ("<sip:a@b>",), "x-twilio-error": ("1",)}, authenticated, rang=True, media_started=True
    )  # fmt: skip
    assert decide(outcome, TWILIO).verdict in (V.FINAL, V.CODEC)


@given(st.sampled_from(sorted(NEVER)), st.booleans(), st.booleans(), st.frozensets(st.integers(300, 699)))
def test_what_the_callee_said_is_final_whatever_the_trunk_file_says(
    code: int, authenticated: bool, rang: bool, asked: frozenset[int]
) -> None:
    policy = CodePolicy(failover_codes=asked - NEVER)
    assert decide(Outcome(code, authenticated=authenticated, rang=rang), policy).verdict is V.FINAL


@pytest.mark.parametrize(
    ("code", "reason"),
    [(302, "redirected"), (604, "does_not_exist_anywhere"), (499, "sip_499"), (599, "sip_599")],
)
def test_an_unknown_code_is_named_by_its_number(code: int, reason: str) -> None:
    assert decide(Outcome(code), PLAIN).reason == reason


def test_every_class_has_a_row_for_its_unknown_codes() -> None:
    assert {300, 400, 500, 600} <= CODES.keys()
    with pytest.raises(ValueError, match="no final response"):
        decide(Outcome(180), PLAIN)


RETRY = [
    (("120",), 120.0), (("18000;duration=3600",), 3600.0), (("120 (I'm in a meeting)",), 120.0), (("  5 ",), 5.0),
    (("5;x=(a;b)",), 5.0), (("0",), 0.0), (("9" * 5000,), 3600.0), (("-5",), None), (("",), None), (("1.5",), None),
    (("Fri, 31 Dec 1999 23:59:59 GMT",), None), (("soon", "7"), 7.0), ((), None), (("٣",), None),
    (("000000000012",), 12.0),
]  # fmt: skip


@pytest.mark.parametrize(("values", "seconds"), RETRY)
def test_retry_after(values: tuple[str, ...], seconds: float | None) -> None:
    assert retry_after(values, 3600.0) == seconds


@given(st.text())
def test_retry_after_is_a_bounded_number_or_nothing(value: str) -> None:
    seconds = retry_after((value,), 60.0)
    assert seconds is None or 0 <= seconds <= 60


@pytest.mark.parametrize(("code", "seconds"), [(503, 30.0), (500, 30.0), (486, 0.0), (408, 0.0), (603, 0.0)])
def test_retry_after_counts_where_it_is_about_the_target(code: int, seconds: float) -> None:
    assert decide(Outcome(code, headers={"retry-after": ("30",)}), PLAIN).leave_alone_s == seconds


def test_redirects() -> None:
    contacts = (
        '"Doe, J." <sip:a@192.0.2.1:5070;transport=udp>;q=0.2, <sips:b@example.com>;q=0.9',
        "<tel:+250788>",
        "nonsense",
    )
    assert redirect_uris(contacts) == ("sips:b@example.com", "sip:a@192.0.2.1:5070")
    decision = decide(Outcome(302, headers={"contact": contacts}), PLAIN)
    assert (decision.verdict, len(decision.contacts)) == (V.REDIRECT, 2)
