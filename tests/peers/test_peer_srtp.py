"""SDES and SRTP against a telephone by hand: lines that cannot be run, late offers, new keys within a call."""

from __future__ import annotations

import re

import pytest

from rtp.codec import CODECS
from rtp.wav import read_wav
from sipua.resources import shipped_speech
from tests.peers.agent import Agent
from tests.peers.processes import similarity, until
from tests.peers.secure_line import SecureLine
from tests.peers.secure_phone import SecurePhone, crypto
from tests.rfc3711 import Direction

pytestmark = pytest.mark.peer
SUITE_80, SUITE_32, SUITE_256 = (
    "AES_CM_128_HMAC_SHA1_80",
    "AES_CM_128_HMAC_SHA1_32",
    "AES_256_CM_HMAC_SHA1_80",
)
KEY, OTHER, THIRD = bytes(range(30)), bytes(range(30, 60)), bytes(range(60, 90))


def dropped(agent: Agent, kind: str) -> float:
    return agent.metric("sipua_rtp_packets_dropped_total", kind=kind)


def lines_of(key: bytes | None) -> list[str]:
    return [crypto(1, SUITE_80, key)] if key else []


def keys(key: bytes | None) -> Direction | None:
    """None is plain RTP."""
    return Direction.of(SUITE_80, key) if key else None


@pytest.fixture
def phone(line: SecureLine) -> SecurePhone:
    return SecurePhone(line.ports["mandatory"], line.authority)


def test_one_call_through_a_rollover_and_three_keys(line: SecureLine, phone: SecurePhone) -> None:
    before = dropped(line.agent, "srtp_forged")
    with phone:
        phone.index = 2**16 - 10  # it wraps within the first half second
        unusable = [crypto(1, SUITE_256, bytes(46)), crypto(2, SUITE_80, OTHER, "|2^20|1:4"),
                    crypto(3, SUITE_80, OTHER, " KDR=1")]  # fmt: skip
        answer = phone.invite(phone.offer(*unusable, crypto(7, SUITE_32, KEY), crypto(9, SUITE_80, OTHER)))
        assert (answer.status, answer.profile) == (200, "RTP/SAVP")
        [ours] = answer.lines
        assert (ours.tag, ours.suite) == (7, SUITE_32)
        heard = Direction.of(ours.suite, ours.key)
        phone.talk(Direction.of(SUITE_32, KEY), heard, 200)  # 4 s: the greeting has 3.5

        again = phone.invite(phone.offer(crypto(7, SUITE_32, KEY)))  # the same key goes on counting
        assert again.lines == [ours]
        phone.talk(Direction.of(SUITE_32, KEY), heard)

        [ours] = phone.invite(phone.offer(crypto(1, SUITE_80, OTHER))).lines
        phone.index &= 0xFFFF  # another key begins at rollover counter 0
        phone.talk(Direction.of(SUITE_80, OTHER), Direction.of(ours.suite, ours.key))

        answer = phone.request("UPDATE", phone.offer(crypto(1, SUITE_80, THIRD)))
        assert answer.status == 200
        [ours] = answer.lines
        heard = Direction.of(ours.suite, ours.key)
        phone.talk(Direction.of(SUITE_80, THIRD), heard)

        assert phone.invite(phone.offer(profile="RTP/AVP")).status == 488  # the call goes on as it was
        assert phone.invite(phone.offer(crypto(1, SUITE_256, bytes(46)))).status == 488
        phone.talk(Direction.of(SUITE_80, THIRD), heard)
        phone.talk(None, heard, 10)
        phone.talk(Direction.of(SUITE_80, OTHER), heard, 10)  # a key that was left
        phone.talk(Direction.of(SUITE_80, THIRD), heard, 10)
        assert phone.request("BYE").status == 200

    call = line.agent.closed_call(phone.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    rtp = call["metadata"]["rtp"]
    assert (
        20 <= rtp["dropped"] <= 23
    )  # forged ones, and those of a new key that are quicker than its settling
    assert rtp["received"] + rtp["dropped"] == 200 + 25 + 25 + 25 + 25 + 10 + 20
    until(
        lambda: dropped(line.agent, "srtp_forged") == before + rtp["dropped"],
        "the forged packets are counted",
    )
    sound = CODECS["PCMU"].decode(b"".join(phone.heard.payloads))
    assert similarity(sound, read_wav(shipped_speech("greeting_en.wav"))) > 0.9
    assert phone.heard.refused <= 4  # those under way while a key changed


@pytest.mark.parametrize("tag", [1, 2])
def test_an_offer_of_ours_is_answered_in_the_ack(line: SecureLine, phone: SecurePhone, tag: int) -> None:
    with phone:
        offer = phone.request("INVITE")
        assert (offer.status, offer.profile) == (200, "RTP/SAVP")
        assert [(each.tag, each.suite) for each in offer.lines] == [(1, SUITE_80), (2, SUITE_32)]
        ours = offer.lines[tag - 1]
        phone.acknowledge(phone.offer(crypto(tag, ours.suite, KEY)))
        phone.talk(Direction.of(ours.suite, KEY), Direction.of(ours.suite, ours.key), 50)
        assert phone.request("BYE").status == 200
    call = line.agent.closed_call(phone.call_id)
    rtp = call["metadata"]["rtp"]
    assert rtp["received"] >= 45  # the first ones may be quicker than the ACK
    assert rtp["received"] + rtp["dropped"] == 50
    assert len(phone.heard.payloads) >= 40
    assert phone.heard.refused == 0


@pytest.mark.parametrize(
    ("use", "before", "after"),
    [("mandatory", KEY, KEY), ("mandatory", KEY, OTHER), ("optional", KEY, OTHER), ("optional", None, None)],
    ids=["the same key", "another key", "RTP/SAVP where it is optional", "plain"],
)
def test_a_re_invite_without_an_offer_is_answered_in_an_ack_that_pjsua2_does_not_show(
    line: SecureLine, use: str, before: bytes | None, after: bytes | None
) -> None:
    with SecurePhone(line.ports[use], line.authority) as phone:
        profile = "RTP/SAVP" if before else "RTP/AVP"
        answer = phone.invite(phone.offer(*lines_of(before), profile=profile))
        phone.talk(keys(before), keys(answer.lines[0].key if before else None), 10)
        offer = phone.request("INVITE")
        assert offer.lines[0].tag == 1
        phone.acknowledge(phone.offer(*lines_of(after), profile=offer.profile))
        phone.talk(keys(after), keys(offer.lines[0].key if after else None), 25)
        assert phone.request("BYE").status == 200
    call = line.agent.closed_call(phone.call_id)
    assert call["metadata"]["rtp"]["received"] >= 10 + 25 - 3  # the first ones may be quicker than the ACK
    assert len(phone.heard.payloads) >= 25
    assert phone.heard.refused == 0


@pytest.mark.parametrize(
    ("lines", "profile"),
    [
        ([], "RTP/AVP"),
        ([], "RTP/SAVP"),
        ([crypto(3, SUITE_80, KEY)], "RTP/SAVP"),
        ([crypto(1, SUITE_32, KEY)], "RTP/SAVP"),
        ([crypto(1, SUITE_80, KEY, "|2^20|1:4")], "RTP/SAVP"),
    ],
    ids=["in clear", "no key", "unknown tag", "another suite", "MKI"],
)
def test_an_answer_that_is_none_to_our_offer_ends_the_call(
    line: SecureLine, phone: SecurePhone, lines: list[str], profile: str
) -> None:
    with phone:
        assert phone.request("INVITE").status == 200
        phone.acknowledge(phone.offer(*lines, profile=profile))
        phone.until_bye()
    call = line.agent.closed_call(phone.call_id)
    assert call["metadata"]["rtp"].get("received", 0) == 0
    assert call["status"] == "failed"


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [crypto(1, SUITE_256, bytes(46))],
        [crypto(1, SUITE_80, KEY, "|2^20|1:4")],
        [crypto(1, SUITE_80, KEY, " UNENCRYPTED_SRTP")],
        [crypto(1, SUITE_80, KEY[:20])],
        [crypto(1, SUITE_80, KEY), crypto(1, SUITE_32, KEY)],
        ["a=crypto:x"],
    ],
    ids=["none", "AES-256", "MKI", "in clear", "short key", "one tag", "nonsense"],
)
def test_an_offer_without_a_line_that_can_be_run(
    line: SecureLine, phone: SecurePhone, lines: list[str]
) -> None:
    with phone:
        assert phone.invite(phone.offer(*lines)).status == 488
    line.agent.says("< INVITE by trunk mandatory: ")


def twice(phone: SecurePhone, first: str, line: str) -> str:
    """An offer of a stream with SRTP and one without, ``first`` first, as desk phones write it."""
    streams = {"RTP/SAVP": phone.offer(line), "RTP/AVP": phone.offer(profile="RTP/AVP")}
    (second,) = streams.keys() - {first}
    return streams[first] + "m=audio" + streams[second].partition("m=audio")[2]


@pytest.mark.parametrize("first", ["RTP/SAVP", "RTP/AVP"])
@pytest.mark.parametrize("use", ["off", "optional", "mandatory"])
def test_of_two_streams_the_trunk_takes_its_own(line: SecureLine, use: str, first: str) -> None:
    """The other is refused with port 0, in the order of the offer, and again in a re-INVITE."""
    profile = "RTP/AVP" if use == "off" else "RTP/SAVP"
    with SecurePhone(line.ports[use], line.authority) as phone:
        for key in (KEY, OTHER):
            answer = phone.invite(twice(phone, first, crypto(1, SUITE_80, key)))
            assert (answer.status, answer.profile) == (200, profile)
            streams = re.findall(r"^m=audio (\d+) (\S+)", answer.body, re.M)
            assert [name for _, name in streams] == [first, *({"RTP/SAVP", "RTP/AVP"} - {first})]
            assert [name for port, name in streams if port != "0"] == [profile]
            heard = Direction.of(SUITE_80, answer.lines[0].key) if answer.lines else None
            phone.index = 1
            phone.talk(None if use == "off" else Direction.of(SUITE_80, key), heard, 20)
        assert phone.request("BYE").status == 200
    call = line.agent.closed_call(phone.call_id)
    assert call["outcome"] == "caller_hangup"
    assert call["metadata"].get("srtp", "") == ("" if use == "off" else SUITE_80)
    assert call["metadata"]["rtp"]["received"] >= 35
    assert (len(phone.heard.payloads) > 20, phone.heard.refused) == (True, 0)


@pytest.mark.parametrize("use", ["optional", "mandatory"])
def test_keys_that_cannot_be_run_beside_plain_rtp(line: SecureLine, use: str) -> None:
    """pjsua would take the stream with SRTP for its profile alone: 488 says what is wrong with it."""
    with SecurePhone(line.ports[use], line.authority) as phone:
        answer = phone.invite(twice(phone, "RTP/AVP", crypto(1, SUITE_256, bytes(46))))
    assert answer.status == 488
    assert "no a=crypto line that we can run: 1 AES_256_CM_HMAC_SHA1_80" in answer.header("Warning")
