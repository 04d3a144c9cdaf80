"""Whose packets count: the table of ``rtp.source``, row by row, and strangers against phones."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.packet import build_rtp, parse_rtp
from rtp.source import CANDIDATES, MAX_DROPOUT, RELATCH_AFTER_S, RELATCH_WINDOW_S, SourceLock, Verdict

SIGNALLED = ("192.0.2.1", 4000)
SAME_HOST = ("192.0.2.1", 4444)
NAT = ("198.51.100.7", 61000)
REBOUND = ("198.51.100.7", 62000)
STRANGER = ("203.0.113.66", 9)
NEW = ("192.0.2.99", 5000)
KNOWN, LATCHED, UNPROVEN, FOREIGN = Verdict.KNOWN, Verdict.LATCHED, Verdict.UNPROVEN, Verdict.FOREIGN
SSRC, OTHER = 77, 666
WITHIN, AFTER = RELATCH_WINDOW_S - 0.125, RELATCH_WINDOW_S + 0.125  # exact as floats

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Said:
    """A packet that a source sends, and what is to be thought of it."""

    by: Address
    seq: int
    at: float
    verdict: Verdict
    ssrc: int = SSRC
    pt: int = 0


@dataclass(frozen=True, slots=True)
class Signalled:
    """An offer/answer; the same address is a session refresh."""

    remote: Address


BY_NAT = (Said(NAT, 1, 0, UNPROVEN), Said(NAT, 2, 0.02, LATCHED))  # the window ends at 3.02
SPEAKING = (*BY_NAT, Said(NAT, 3, AFTER, KNOWN))
BY_STRANGER = (Said(STRANGER, 1, 0, UNPROVEN, OTHER), Said(STRANGER, 2, 0.02, LATCHED, OTHER))

CASES: dict[str, tuple[Said | Signalled, ...]] = {
    "the signalled address, at once": (Said(SIGNALLED, 1, 0, LATCHED), Said(SIGNALLED, 2, 0.02, KNOWN)),
    "a phone behind NAT, by its second packet": BY_NAT,
    "one of them lost": (Said(NAT, 1, 0, UNPROVEN), Said(NAT, 3, 0.04, LATCHED)),
    "over the wrap": (Said(NAT, 65535, 0, UNPROVEN), Said(NAT, 0, 0.02, LATCHED)),
    "a duplicate is no proof": (Said(NAT, 1, 0, UNPROVEN), Said(NAT, 1, 0.02, FOREIGN)),
    "nor is another SSRC": (Said(NAT, 1, 0, UNPROVEN), Said(NAT, 2, 0.02, FOREIGN, OTHER)),
    "two who begin at once, the one in sequence": (
        Said(STRANGER, 9, 0, UNPROVEN, OTHER),
        Said(NAT, 1, 0.01, UNPROVEN),
        Said(STRANGER, 900, 0.015, FOREIGN, OTHER),
        Said(NAT, 2, 0.02, LATCHED),
        Said(STRANGER, 901, 0.03, FOREIGN, OTHER),
    ),
    "the signalled address before a candidate's second": (
        Said(STRANGER, 1, 0, UNPROVEN, OTHER),
        Said(SIGNALLED, 1, 0.01, LATCHED),
        Said(STRANGER, 2, 0.02, FOREIGN, OTHER),
    ),
    "spoke first, before the phone: the signalled address within the window": (
        *BY_STRANGER,
        Said(SIGNALLED, 1, WITHIN, LATCHED),
        Said(STRANGER, 3, WITHIN, FOREIGN, OTHER),
    ),
    "spoke first: the signalled address after the window": (
        *BY_STRANGER,
        Said(STRANGER, 400, 8, KNOWN, OTHER),
        Said(SIGNALLED, 1, 8.01, LATCHED),
        Said(STRANGER, 401, 8.02, FOREIGN, OTHER),
        Said(STRANGER, 402, 60, FOREIGN, OTHER),
    ),
    "spoke first: another port of the signalled host within the window": (
        *BY_STRANGER,
        Said(SAME_HOST, 1, WITHIN, LATCHED),
        Said(STRANGER, 3, WITHIN, FOREIGN, OTHER),
    ),
    "another port of the signalled host after the window": (*BY_STRANGER, Said(SAME_HOST, 1, AFTER, FOREIGN)),
    "one port of the signalled host never takes over from another": (
        Said(SAME_HOST, 1, 0, UNPROVEN),
        Said(SAME_HOST, 2, 0.02, LATCHED),
        Said(("192.0.2.1", 4446), 3, 0.03, FOREIGN, OTHER),
    ),
    "a third address within the window": (*BY_NAT, Said(STRANGER, 3, 0.04, FOREIGN, OTHER)),
    "a third address after the window": (*SPEAKING, Said(STRANGER, 4, AFTER, FOREIGN, OTHER)),
    "a third address after a long silence": (*SPEAKING, Said(STRANGER, 4, 600, FOREIGN, OTHER)),
    "a third address after a session refresh": (
        *SPEAKING,
        Signalled(SIGNALLED),
        Said(STRANGER, 4, 600, FOREIGN, OTHER),
    ),
    "it has the SSRC and not the sequence": (*SPEAKING, Said(STRANGER, 30_000, 600, FOREIGN)),
    "it repeats what was said": (*SPEAKING, Said(STRANGER, 3, 600, FOREIGN)),
    "rebinding within the window, in mid-speech": (
        *BY_NAT,
        Said(REBOUND, 3, 0.04, LATCHED),
        Said(REBOUND, 4, 0.06, KNOWN),
        Said(NAT, 4, 0.07, FOREIGN),  # the same over the old binding
    ),
    "rebinding after the window, too early": (*SPEAKING, Said(REBOUND, 4, AFTER + 1.9, FOREIGN)),
    "rebinding after the window": (*SPEAKING, Said(REBOUND, 4, AFTER + RELATCH_AFTER_S, LATCHED)),
    "rebinding with another payload type": (
        *SPEAKING,
        Said(REBOUND, 4, AFTER + RELATCH_AFTER_S, FOREIGN, pt=8),
    ),
    "rebinding with another payload type after a re-INVITE": (
        *SPEAKING,
        Signalled(SIGNALLED),
        Said(REBOUND, 4, AFTER + RELATCH_AFTER_S, LATCHED, pt=8),
    ),
    "rebinding after a minute": (*SPEAKING, Said(REBOUND, 3 + MAX_DROPOUT, 70, LATCHED)),
    "rebinding opens the window anew": (
        *SPEAKING,
        Said(REBOUND, 4, 10, LATCHED),
        Said(NAT, 5, 10.02, LATCHED),
    ),
    "a key press takes nothing over": (*BY_STRANGER, Said(SIGNALLED, 1, 0.1, FOREIGN, pt=101)),
    "a re-INVITE that moves the media": (
        *SPEAKING,
        Signalled(NEW),
        Said(NAT, 4, 4, FOREIGN),
        Said(NEW, 1, 4.02, LATCHED, 5),
        Said(NAT, 5, 4.04, FOREIGN),
    ),
    "and nobody speaks there": (
        *SPEAKING,
        Signalled(NEW),
        Said(NAT, 4, 4, FOREIGN),
        Said(NAT, 5, 4 + RELATCH_AFTER_S, LATCHED),
    ),
    "a hold address moves nothing": (
        *SPEAKING,
        Signalled(("0.0.0.0", 4000)),
        Said(STRANGER, 1, 60, FOREIGN, OTHER),
        Said(NAT, 4, 61, KNOWN),
    ),
}  # fmt: skip


def said(lock: SourceLock, each: Said) -> Verdict:
    packet = parse_rtp(build_rtp(each.pt, False, each.seq, 0, each.ssrc, b"s"))
    return lock.judge(each.by, packet, each.at, is_sound=each.pt != 101)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_who_is_heard(case: tuple[Said | Signalled, ...]) -> None:
    lock = SourceLock()
    lock.signal(SIGNALLED)
    for step in case:
        if isinstance(step, Signalled):
            lock.signal(step.remote)
        else:
            before = lock.latched
            assert said(lock, step) is step.verdict, step
            assert lock.latched == (step.by if step.verdict is LATCHED else before)


@pytest.mark.parametrize(("window_s", "verdict"), [(0.0, FOREIGN), (1.0, LATCHED)])
def test_the_window_is_the_owners_to_set(window_s: float, verdict: Verdict) -> None:
    lock = SourceLock(window_s)
    lock.signal(SIGNALLED)
    for step in (*BY_NAT, Said(REBOUND, 3, 0.04, verdict)):
        assert said(lock, step) is step.verdict


def test_a_phone_is_found_among_strangers_who_each_speak_once() -> None:
    lock = SourceLock()
    lock.signal(SIGNALLED)
    strangers = [Said(("203.0.113.9", 1000 + n), n, 0, FOREIGN, OTHER) for n in range(500)]
    for each in strangers:
        assert said(lock, each) in (UNPROVEN, FOREIGN)
    said(lock, Said(NAT, 1, 0.01, UNPROVEN))
    for each in strangers[: CANDIDATES - 1]:
        said(lock, each)
    assert said(lock, Said(NAT, 2, 0.03, LATCHED)) is LATCHED
    assert lock.first is not None
    assert lock.first.packet.sequence_number == 1
    assert lock.turned_away == CANDIDATES - 1


@given(st.randoms(use_true_random=False))
def test_once_it_speaks_no_stranger_ever_comes_between(chance: random.Random) -> None:
    """Whatever strangers without the SSRC send, at whatever time: the phone's every packet counts, theirs none."""
    lock = SourceLock()
    lock.signal(SIGNALLED)
    now = 0.0
    for seq in range(40):
        now += chance.choice((0.02, 0.02, 1.0, 5.0))
        verdict = said(lock, Said(NAT, seq, now, KNOWN))
        assert verdict is {0: UNPROVEN, 1: LATCHED}.get(seq, KNOWN)
        if chance.random() < 0.1:
            lock.signal(SIGNALLED)
        for _ in range(chance.randrange(4)):
            by, ssrc = chance.choice((STRANGER, REBOUND)), chance.randrange(1000, 2000)
            intruder = Said(by, chance.randrange(65536), now + 0.01, FOREIGN, ssrc, chance.choice((0, 101)))
            assert said(lock, intruder) in ((UNPROVEN, FOREIGN) if seq == 0 else (FOREIGN,))
