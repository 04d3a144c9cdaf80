"""Which INVITE is let in: the decisions, and that a refusal leaves no port behind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rtp.ports import PortAllocator
from sipua.admission import Admission, Grant, is_from_ourselves
from sipua.errors import ConfigError
from sipua.media_ports import MediaPorts
from sipua.occupancy import Occupancy
from sipua.sip_events import Arrival, Refusal
from sipua.sip_message import SipMessage
from sipua.trunk import Trunk

TRUNK = Trunk.model_validate(
    {"schema": 1, "name": "a", "provider": "p", "inbound_acl": ["192.0.2.0/24"], "codecs": ["PCMA", "PCMU"]}
)
SOURCE = ("192.0.2.1", 5060)
ARRIVAL = Arrival(SOURCE, account="a")


def invite(*media: str, address: str = "192.0.2.1", uri: str = "sip:a@b") -> SipMessage:
    body = "\r\n".join(["v=0", f"c=IN IP4 {address}", *media]) + "\r\n" if media else ""
    return SipMessage(f"INVITE {uri} SIP/2.0", {}, body)


BOTH = invite("m=audio 4000 RTP/AVP 0 8 101", "a=rtpmap:101 telephone-event/8000")


@contextmanager
def admitted(admission: Admission, message: SipMessage, arrival: Arrival = ARRIVAL) -> Iterator[Grant]:
    grant = admission(arrival, message)
    assert isinstance(grant, Grant)
    try:
        yield grant
    finally:
        for sock in grant.sockets:
            sock.close()


def admission(ports: PortAllocator | None = None, *, limit: int = 16, **values: object) -> Admission:
    """Of a process whose pjsua takes ``limit`` calls, with TRUNK and these values."""
    occupancy = Occupancy(lambda: 0.0)
    occupancy.open(limit, lambda: limit)
    trunk = Trunk.model_validate(TRUNK.model_dump(by_alias=True) | values)
    return Admission([trunk], MediaPorts(ports or PortAllocator(0, 0), "127.0.0.1"), occupancy)


def one_pair() -> PortAllocator:
    """An allocator whose range holds one pair, which was free a moment ago."""
    sockets = PortAllocator(0, 0).open_pair("127.0.0.1")
    first, last = (sock.getsockname()[1] for sock in sockets)
    for sock in sockets:
        sock.close()
    return PortAllocator(first, last)


def test_an_offer_gets_the_callers_first_codec_and_bound_ports() -> None:
    with admitted(admission(), BOTH) as grant:
        assert (grant.trunk, grant.codec) == (TRUNK, "PCMU")
        assert grant.offer is not None
        assert (grant.plan.address, grant.plan.chosen) == ("127.0.0.1", "PCMU")
        rtp, rtcp = (sock.getsockname()[1] for sock in grant.sockets)
        assert (grant.plan.port, rtcp) == (rtp, rtp + 1)


@pytest.mark.parametrize("dtmf", ["rfc4733", "info", "inband"])
def test_telephone_events_are_in_our_sdp_where_keys_travel_so(dtmf: str) -> None:
    with admitted(admission(dtmf=dtmf), BOTH) as grant:
        assert grant.plan.has_telephone_events == (dtmf == "rfc4733")


def test_a_late_offer_gets_the_trunks_first_codec() -> None:
    with admitted(admission(), invite()) as grant:
        assert (grant.codec, grant.offer, grant.plan.chosen) == ("PCMA", None, "PCMA")


@pytest.mark.parametrize(
    ("message", "source", "code", "said"),
    [
        (BOTH, ("198.51.100.1", 5060), 403, "source is on no trunk's ACL"),
        (invite("m=audio 4000 RTP/AVP 18"), SOURCE, 488, "no common codec: offered G729; .*PCMA, PCMU"),
        (invite("m=audio 4000 RTP/AVP 99"), SOURCE, 488, "no common codec: offered nothing we know"),
        (invite("m=audio 4000 RTP/AVP 0", address="224.0.0.1"), SOURCE, 488, "224.0.0.1 cannot receive RTP"),
        (invite("m=audio 4000 RTP/AVP 0", address="a.example"), SOURCE, 488, "a.example cannot receive RTP"),
        (invite("m=video 4000 RTP/AVP 31"), SOURCE, 488, "no m=audio"),
        (invite("m=audio x RTP/AVP 0"), SOURCE, 488, "port 'x'"),
        (invite("m=audio 4000 RTP/SAVP 0"), SOURCE, 488, "profile RTP/SAVP, but srtp = off"),
        (
            invite("m=audio 4000 UDP/TLS/RTP/SAVPF 0"),
            SOURCE,
            488,
            "profile UDP/TLS/RTP/SAVPF: allowed RTP/AVP,",
        ),
    ],
    ids=["stranger", "codec", "no format", "multicast", "name", "video", "malformed", "secure", "DTLS"],
)
def test_a_refusal_says_why(message: SipMessage, source: tuple[str, int], code: int, said: str) -> None:
    decide = admission(one_pair())
    refusal = decide(Arrival(source, account="a"), message)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
    assert refusal.trunk == (None if code == 403 else "a")
    assert re.search(said, refusal.reason)
    warning = dict(refusal.headers).get("Warning")
    assert (warning is not None) == (code == 488)
    if warning is not None:
        assert warning.startswith('399 sipua "')
        assert warning.count('"') == 2
    with admitted(decide, BOTH):
        pass  # the only pair was not taken by the refusal


@pytest.mark.parametrize("address", ["0.0.0.0", "10.0.0.1", "192.168.1.1"])
def test_hold_and_private_addresses_are_let_in(address: str) -> None:
    """Symmetric RTP finds the true source."""
    with admitted(admission(), invite("m=audio 4000 RTP/AVP 0", address=address)) as grant:
        assert grant.codec == "PCMU"


def test_no_port_left_is_a_503_with_a_time() -> None:
    decide = admission(one_pair())
    with admitted(decide, BOTH):
        refusal = decide(ARRIVAL, BOTH)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.trunk, dict(refusal.headers)) == (503, "a", {"Retry-After": "5"})


def test_a_draining_process_takes_no_calls() -> None:
    decide = admission()
    decide.draining.set()
    refusal = decide(ARRIVAL, BOTH)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.reason) == (503, "draining")
    assert "Retry-After" in dict(refusal.headers)
    assert decide(Arrival(("198.51.100.1", 1)), BOTH) == Refusal(403, "source is on no trunk's ACL", None)


def test_one_slot_below_the_limit_a_call_is_asked_to_come_later() -> None:
    decide = admission(limit=8)
    with ExitStack() as stack:
        first, *_ = [stack.enter_context(admitted(decide, BOTH)) for _ in range(7)]
        refusal = decide(ARRIVAL, BOTH)
        assert isinstance(refusal, Refusal)
        assert (refusal.code, dict(refusal.headers)) == (503, {"Retry-After": "5"})
        assert refusal.reason == "7 of 8 call slots are in use, one is kept"
        for _ in range(2):  # the second time nothing is freed
            decide.occupancy.leave(first.token)
        with admitted(decide, BOTH):
            assert isinstance(decide(ARRIVAL, BOTH), Refusal)


def test_of_the_wheels_four_slots_none_is_kept() -> None:
    decide = admission(limit=4)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(admitted(decide, BOTH))


def test_nobody_is_let_in_before_pjsua_has_named_its_limit() -> None:
    refusal = admission(limit=0)(ARRIVAL, BOTH)
    assert isinstance(refusal, Refusal)
    assert refusal.code == 503


def test_a_trunk_has_no_more_calls_than_channels() -> None:
    decide = admission(max_channels=1)
    with admitted(decide, BOTH) as first:
        refusal = decide(ARRIVAL, BOTH)
        assert isinstance(refusal, Refusal)
        assert (refusal.code, refusal.reason) == (503, "trunk a: all 1 channels are in use")
        assert decide.occupancy.slots_in_use() == 1
        decide.occupancy.leave(first.token)
    with admitted(decide, BOTH):
        assert decide.occupancy.calls_up("a") == 1


def test_a_refusal_for_want_of_a_port_gives_slot_and_channel_back() -> None:
    decide = admission(one_pair(), max_channels=2)
    with admitted(decide, BOTH):
        assert isinstance(decide(ARRIVAL, BOTH), Refusal)
        assert (decide.occupancy.slots_in_use(), decide.occupancy.calls_up("a")) == (1, 1)


@pytest.mark.parametrize(
    ("user", "is_ours"),
    [
        ("+250788123456", True),
        ("250788123456", True),
        ("0788123456", True),
        ("00250788123456", True),
        ("%2B250788123456;npdi=yes", True),
        ("+250788123457", False),
        ("agent", False),
        ("", False),
    ],
)
def test_only_our_numbers_ring_where_there_are_ranges(user: str, is_ours: bool) -> None:
    decide = admission(did_ranges=["+250788123456"])
    message = invite("m=audio 4000 RTP/AVP 0", uri=f"sip:{user}@192.0.2.9:5060;user=phone")
    if is_ours:
        with admitted(decide, message):
            return
    refusal = decide(ARRIVAL, message)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.trunk) == (404, "a")


def test_the_local_port_decides_between_trunks_of_one_network() -> None:
    decide = admission()
    here = Trunk.model_validate(TRUNK.model_dump(by_alias=True) | {"name": "here", "bind_port": 5060})
    there = Trunk.model_validate(TRUNK.model_dump(by_alias=True) | {"name": "there", "bind_port": 5070})
    decide.replace([TRUNK, there, here])
    for port, expected in ((5060, "here"), (5070, "there"), (5080, "a")):
        local = ("192.0.2.9", port)
        assert decide.select(SOURCE, local, "udp", BOTH) == expected
        with admitted(decide, BOTH, Arrival(SOURCE, local, "udp", expected)) as grant:
            assert grant.trunk.name == expected


def test_who_must_prove_who_it_is_is_asked_before_its_number_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("sesame")
    secret: dict[str, Any] = {
        "inbound_auth_user": "phone",
        "inbound_password_file": str(tmp_path / "password"),
    }
    decide = admission(one_pair(), did_ranges=["+250788123456"], **secret)
    refusal = decide(ARRIVAL, BOTH)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, [name for name, _ in refusal.headers]) == (401, ["WWW-Authenticate"] * 2)
    assert decide.occupancy.calls_up("a") == 0


def test_trunks_whose_password_is_not_there_replace_nothing(tmp_path: Path) -> None:
    decide = admission()
    secret = {"inbound_auth_user": "phone", "inbound_password_file": str(tmp_path / "nothing")}
    with pytest.raises(ConfigError, match="trunk a: inbound_password: the file that it names cannot be read"):
        decide.replace([Trunk.model_validate(TRUNK.model_dump(by_alias=True) | secret)])
    with admitted(decide, BOTH) as grant:
        assert grant.trunk == TRUNK


def test_a_trunk_with_tls_takes_no_call_in_the_clear_and_the_other_way_round() -> None:
    decide = admission()
    secure = Trunk.model_validate(TRUNK.model_dump(by_alias=True) | {"name": "secure", "transport": "tls"})
    decide.replace([secure, TRUNK])
    for transport, expected in (("tls", "secure"), ("udp", "a"), ("tcp", "a")):
        assert decide.select(SOURCE, ("192.0.2.9", 5061), transport, BOTH) == expected
    decide.replace([secure])
    assert decide.select(SOURCE, ("192.0.2.9", 5060), "udp", BOTH) is None


def test_a_call_on_another_account_than_its_trunks_is_asked_to_come_later() -> None:
    """SRTP and session timers would not be those of the trunk."""
    refusal = admission()(Arrival(SOURCE, account=""), BOTH)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.trunk) == (503, "a")


def test_other_trunk_files_count_from_the_next_invite_on() -> None:
    decide = admission()
    with admitted(decide, BOTH) as grant:
        decide.replace([])
        assert decide(ARRIVAL, BOTH) == Refusal(403, "source is on no trunk's ACL", None)
        assert grant.trunk == TRUNK


SECURE = invite("m=audio 4000 RTP/SAVP 0", f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{'A' * 40}")
WITHOUT_KEYS = invite(
    "m=audio 4000 RTP/SAVP 0", f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{'A' * 40}|2^20|1:4"
)
PLAIN = invite("m=audio 4000 RTP/AVP 0")


@pytest.mark.parametrize(
    ("use", "message", "account", "code"),
    [
        ("mandatory", SECURE, "a", None),
        ("mandatory", PLAIN, None, 488),
        ("mandatory", WITHOUT_KEYS, None, 488),
        ("mandatory", invite(), "a", None),
        ("optional", SECURE, "a", None),
        ("optional", PLAIN, "a", None),
        ("optional", WITHOUT_KEYS, None, 488),
    ],
)
def test_an_offer_whose_keys_cannot_be_taken_is_a_488_by_the_default_account(
    use: str, message: SipMessage, account: str | None, code: int | None
) -> None:
    decide = admission(srtp=use, transport="tls")
    arrival = Arrival(SOURCE, ("127.0.0.1", 5061), "tls", account or "")
    assert decide.select(arrival.source, arrival.local, arrival.transport, message) == account
    if code is None:
        with admitted(decide, message, arrival) as grant:
            assert grant.plan.srtp.use == use
        return
    refusal = decide(arrival, message)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.trunk) == (code, "a")


@pytest.mark.parametrize(
    ("source", "local", "is_ours"),
    [
        pytest.param(("127.0.0.1", 5060), ("127.0.0.1", 5060), True, id="our socket"),
        pytest.param(("127.0.0.1", 5060), ("0.0.0.0", 5060), True, id="our socket on every address"),
        pytest.param(("127.0.0.1", 5070), ("0.0.0.0", 5060), False, id="another port of this machine"),
        pytest.param(("127.0.0.2", 5060), ("127.0.0.1", 5060), False, id="the same port of another address"),
        pytest.param(("198.51.100.7", 5060), ("0.0.0.0", 5060), False, id="the same port of another machine"),
    ],
)
def test_a_call_of_ours_does_not_come_back_to_us(
    source: tuple[str, int], local: tuple[str, int], is_ours: bool
) -> None:
    assert is_from_ourselves(Arrival(source, local)) is is_ours
