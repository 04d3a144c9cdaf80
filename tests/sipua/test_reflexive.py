"""Which address a trunk is told: who is believed, when a new one counts, and what a Via says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.reflexive import Kind, Reflexive, seen_from

ONE, OTHER, STUN, LAN, NEW_LAN = "203.0.113.7", "203.0.113.8", "198.51.100.1", "192.168.1.10", "192.168.1.11"


def core() -> Reflexive:
    found = Reflexive()
    found.follow({"auto": Kind.PUBLIC, "lan": Kind.LOCAL})
    return found


def test_the_trunks_own_view_counts_most_then_stun_then_the_local_address() -> None:
    subject = core()
    assert subject.address("auto") == subject.address("unknown") == ""
    assert subject.local("auto", LAN) == {"auto"}
    assert subject.address("auto") == LAN
    assert subject.stun(STUN) == {"auto"}
    assert subject.address("auto") == STUN
    assert subject.via("auto", ONE) == {"auto"}
    assert subject.address("auto") == ONE
    assert subject.stun(OTHER) == set()
    assert subject.address("auto") == ONE


def test_a_trunk_without_auto_follows_the_local_address_alone() -> None:
    subject = core()
    assert subject.via("lan", ONE) == subject.stun(STUN) - {"auto"} == set()
    assert subject.local("lan", LAN) == {"lan"}
    assert subject.local("lan", LAN) == set()
    assert subject.local("lan", NEW_LAN) == {"lan"}
    assert subject.address("lan") == NEW_LAN


def test_a_new_address_counts_once_it_was_seen_twice_in_a_row() -> None:
    subject = core()
    subject.via("auto", ONE)
    assert [subject.via("auto", each) for each in (OTHER, ONE, OTHER, ONE)] == [set()] * 4
    assert subject.via("auto", OTHER) == set()
    assert subject.via("auto", OTHER) == {"auto"}
    assert subject.address("auto") == OTHER


def test_a_new_address_counts_at_once_when_our_own_has_changed() -> None:
    subject = core()
    subject.local("auto", LAN)
    subject.via("auto", ONE)
    assert subject.local("auto", NEW_LAN) == set()  # the router may show us as before
    assert subject.via("auto", OTHER) == {"auto"}
    assert subject.via("auto", ONE) == set()  # and from then on as ever


def test_trunks_that_go_are_forgotten() -> None:
    subject = core()
    subject.via("auto", ONE)
    subject.follow({})
    assert subject.address("auto") == ""
    subject.follow({"auto": Kind.PUBLIC})
    assert subject.address("auto") == ""


@given(
    st.lists(
        st.tuples(st.sampled_from(["via", "stun", "local"]), st.sampled_from([ONE, OTHER, LAN])), max_size=30
    )
)
def test_every_change_is_told_and_nothing_else(observations: list[tuple[str, str]]) -> None:
    subject = core()
    for source, address in observations:
        before = subject.address("auto")
        changed = subject.stun(address) if source == "stun" else getattr(subject, source)("auto", address)
        assert ("auto" in changed) == (subject.address("auto") != before)


@pytest.mark.parametrize(
    ("via", "address"),
    [
        ("SIP/2.0/UDP 10.0.0.1:5060;branch=z9;received=203.0.113.7;rport=1024", ONE),
        ("SIP/2.0/TLS 10.0.0.1:5061;rport=1024;received = 203.0.113.7", ONE),
        ("SIP / 2.0 / UDP 203.0.113.7;rport=5060;branch=z9", ONE),
        ("SIP/2.0/UDP [2001:db8::1]:5060;branch=z9", "2001:db8::1"),
        ("SIP/2.0/UDP 10.0.0.1;received=[2001:db8::1]", "2001:db8::1"),
        ("SIP/2.0/UDP agent.example.org;branch=z9", ""),
        ("SIP/2.0/UDP 0.0.0.0:5060;branch=z9", ""),
        ("SIP/2.0/UDP 10.0.0.1;received=999.1.1.1", ""),
        ("", ""),
    ],
)
def test_what_a_via_says(via: str, address: str) -> None:
    assert seen_from({"via": (via, "SIP/2.0/UDP 192.0.2.1")}) == address


def test_an_answer_without_via() -> None:
    assert seen_from({}) == ""
