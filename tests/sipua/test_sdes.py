"""SDES: lines as phones and trunks write them, what each setting takes, and two ends that agree on keys."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.sdes import Crypto, Sdes, choose, parse_crypto, pick
from sipua.sdp import AudioMedia, PayloadFormat, SdpError, parse_audio, parse_audios, shape_local
from sipua.sip_events import PLAIN_RTP, SrtpKeys, SrtpPolicy

SUITE_80, SUITE_32, SUITE_256 = (
    "AES_CM_128_HMAC_SHA1_80",
    "AES_CM_128_HMAC_SHA1_32",
    "AES_256_CM_HMAC_SHA1_80",
)
BOTH = (SUITE_80, SUITE_32)
KEY = base64.b64encode(bytes(range(30))).decode()
OTHER = base64.b64encode(bytes(range(30, 60))).decode()
LONG = base64.b64encode(bytes(46)).decode()
OPTIONAL, MANDATORY = SrtpPolicy("optional", BOTH), SrtpPolicy("mandatory", BOTH)


def audio(*cryptos: str, profile: str = "RTP/SAVP") -> AudioMedia:
    return AudioMedia("192.0.2.1", 4000, (PayloadFormat(0, "PCMU", 8000),), "sendrecv", 20, profile, cryptos)


def line(tag: int = 1, suite: str = SUITE_80, key: str = KEY, more: str = "") -> str:
    return f"{tag} {suite} inline:{key}{more}"


# ---- lines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(line(), id="plain"),
        pytest.param(line(more="|2^31"), id="snom's lifetime"),
        pytest.param(line(more="|2^48"), id="the longest lifetime"),
        pytest.param(line(more="|1048576"), id="a lifetime in decimal"),
        pytest.param(line(more=" WSH=64 KDR=0"), id="parameters that change nothing"),
        pytest.param(line(more=" -SOMETHING=new"), id="a parameter that may be ignored"),
        pytest.param(line(tag=999999999, suite=SUITE_32), id="the highest tag"),
        pytest.param(f"1  {SUITE_80}  INLINE:{KEY}  ", id="more blanks, another case"),
    ],
)
def test_a_line_that_can_be_run(value: str) -> None:
    crypto = parse_crypto(value)
    assert crypto.unusable == ""
    assert crypto.key == bytes(range(30))
    assert str(crypto.tag) == value.split()[0]
    assert crypto.suite == value.split()[1]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (line(more="|2^20|1:4"), "MKI"),
        (line(more="|1:4"), "MKI"),
        (line(more=f";inline:{OTHER}"), "several keys"),
        (line(more="|2^19"), "lifetime 2^19"),
        (line(more="|2^49"), "lifetime 2^49"),
        (line(more="|2^999999999999999"), "lifetime 2^999999999999999"),
        (line(more="|soon"), "lifetime soon"),
        (line(more="|1000000"), "lifetime 1000000"),
        (line(key=LONG), "the key is not 30 bytes in base64"),
        (line(key=KEY[:-1] + "!"), "the key is not 30 bytes in base64"),
        (line(more=" KDR=1"), "parameter KDR=1"),
        (line(more=" UNENCRYPTED_SRTP"), "parameter UNENCRYPTED_SRTP"),
        (line(more=" UNENCRYPTED_SRTCP"), "parameter UNENCRYPTED_SRTCP"),
        (line(more=" UNAUTHENTICATED_SRTP"), "parameter UNAUTHENTICATED_SRTP"),
        (line(more=" WSH=64 FEC_ORDER=FEC_SRTP"), "parameter FEC_ORDER=FEC_SRTP"),
        (line(more=" SOMETHING"), "parameter SOMETHING"),
    ],
)
def test_a_line_that_cannot_be_run_says_why(value: str, why: str) -> None:
    assert parse_crypto(value) == Crypto(1, SUITE_80, b"", why)


@pytest.mark.parametrize(
    "value",
    ["", "1", f"1 {SUITE_80}", f"01 {SUITE_80} inline:{KEY}", f"0 {SUITE_80} inline:{KEY}",
     f"x {SUITE_80} inline:{KEY}", f"1234567890 {SUITE_80} inline:{KEY}", f"1 {SUITE_80} uri:https",
     f"1 {SUITE_80} inline:", f"² {SUITE_80} inline:x"],
)  # fmt: skip
def test_what_is_no_crypto_line_is_an_error(value: str) -> None:
    with pytest.raises(SdpError, match="a=crypto"):
        parse_crypto(value)


@given(st.text(max_size=80) | st.text("123 inline:|^;=/+AS_", max_size=80))
def test_any_text_is_a_line_or_an_error_that_keeps_secrets(text: str) -> None:
    try:
        crypto = parse_crypto(text)
    except SdpError:
        return
    assert len(crypto.key) == (0 if crypto.unusable else 30)


def test_keys_are_in_no_text_and_no_error() -> None:
    with pytest.raises(SdpError) as caught:
        choose(audio(line(more=" KDR=1"), line(2, SUITE_256, LONG)), MANDATORY)
    assert KEY not in str(caught.value)
    assert LONG not in str(caught.value)
    assert str(bytes(range(30)))[2:-1] not in repr(parse_crypto(line())) + repr(
        SrtpKeys("x", bytes(range(30)), b"")
    )


# ---- offers ------------------------------------------------------------------------------------------------

AES_256, MKI, GOOD, SECOND = line(1, SUITE_256, LONG), line(2, more="|2^20|1:4"), line(3, SUITE_32), line(4)


@pytest.mark.parametrize(
    ("policy", "offer", "tag"),
    [
        (PLAIN_RTP, audio(profile="RTP/AVP"), None),
        (PLAIN_RTP, audio(profile="RTP/AVPF"), None),
        (PLAIN_RTP, audio(GOOD, profile="RTP/AVP"), None),
        (PLAIN_RTP, audio("nonsense", profile="RTP/AVP"), None),
        (OPTIONAL, audio(profile="RTP/AVP"), None),
        (OPTIONAL, audio(GOOD, profile="RTP/AVP"), 3),
        (OPTIONAL, audio(AES_256, MKI, profile="RTP/AVP"), None),
        (OPTIONAL, audio(AES_256, MKI, GOOD, SECOND), 3),
        (OPTIONAL, audio(GOOD, profile="RTP/SAVPF"), 3),
        (MANDATORY, audio(SECOND, GOOD), 4),
        (MANDATORY, audio(AES_256, GOOD, profile="rtp/savp"), 3),
        (SrtpPolicy("mandatory", (SUITE_80,)), audio(GOOD, SECOND), 4),
    ],
)
def test_the_line_of_an_offer_that_is_taken(policy: SrtpPolicy, offer: AudioMedia, tag: int | None) -> None:
    chosen = choose(offer, policy)
    assert (chosen.tag if chosen else None) == tag


@pytest.mark.parametrize(
    ("policy", "offer", "message"),
    [
        (PLAIN_RTP, audio(GOOD), "profile RTP/SAVP, but srtp = off"),
        (MANDATORY, audio(profile="RTP/AVP"), "profile RTP/AVP, but srtp = mandatory needs RTP/SAVP"),
        (MANDATORY, audio(GOOD, profile="RTP/AVP"), "profile RTP/AVP, but srtp = mandatory needs RTP/SAVP"),
        (MANDATORY, audio(), "no a=crypto line that we can run: there is none"),
        (OPTIONAL, audio(), "no a=crypto line that we can run: there is none"),
        (MANDATORY, audio(AES_256, MKI),
         r"1 AES_256_CM_HMAC_SHA1_80 \(suite not allowed\), 2 AES_CM_128_HMAC_SHA1_80 \(MKI\)"),
        (OPTIONAL, audio(AES_256), "suite not allowed"),
        (MANDATORY, audio(GOOD, GOOD), "two lines with one tag"),
        (MANDATORY, audio(GOOD, "nonsense"), "it is not TAG SUITE inline:KEY"),
        (OPTIONAL, audio(GOOD, profile="UDP/TLS/RTP/SAVPF"), "profile UDP/TLS/RTP/SAVPF: allowed RTP/AVP, RTP/AVPF"),
        (PLAIN_RTP, audio(profile="udp"), "profile udp: allowed RTP/AVP"),
    ],
)  # fmt: skip
def test_an_offer_that_is_refused(policy: SrtpPolicy, offer: AudioMedia, message: str) -> None:
    with pytest.raises(SdpError, match=message):
        choose(offer, policy)


# ---- two ends ----------------------------------------------------------------------------------------------


def local(
    key: str = KEY, *, suites: tuple[str, ...] = (SUITE_256, SUITE_80, SUITE_32), profile: str = "RTP/SAVP"
) -> AudioMedia:
    """As pjsua writes it: all that it knows, the same key wherever one of ours is looked for."""
    lines = (line(tag, suite, LONG if suite == SUITE_256 else key) for tag, suite in enumerate(suites, 1))
    return audio(*lines, profile=profile)


def test_our_offer_has_the_allowed_suites_in_order_counted_from_one() -> None:
    sdes = Sdes(SrtpPolicy("mandatory", (SUITE_32, SUITE_80)))
    assert sdes.offer(local()) == (line(1, SUITE_32), line(2, SUITE_80))
    assert sdes.is_waiting


def test_a_plain_trunk_is_offered_nothing_and_waits_for_nothing() -> None:
    sdes = Sdes(PLAIN_RTP)
    assert sdes.offer(local(profile="RTP/AVP")) == ()
    assert (sdes.keys, sdes.is_waiting, sdes.may_be_answered) == (None, False, False)


def test_an_offer_without_a_suite_that_is_allowed_is_not_made() -> None:
    with pytest.raises(SdpError, match="none of AES_CM_128_HMAC_SHA1_32 is in the local SDP"):
        Sdes(SrtpPolicy("mandatory", (SUITE_32,))).offer(local(suites=(SUITE_256, SUITE_80)))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (audio(line(1), line(2, SUITE_32)), "the answer has 2 a=crypto lines: one is allowed"),
        (audio(line(3)), "the answer takes a=crypto:3 AES_CM_128_HMAC_SHA1_80, which was not offered"),
        (audio(line(2)), "the answer takes a=crypto:2 AES_CM_128_HMAC_SHA1_80, which was not offered"),
        (audio(line(1, more="|2^20|1:4")), "the answer's a=crypto:1 cannot be run: MKI"),
        (audio(), "the answer is RTP/SAVP without a=crypto, srtp = mandatory"),
        (audio(profile="RTP/AVP"), "the answer is RTP/AVP without a=crypto, srtp = mandatory"),
    ],
)
def test_an_answer_that_is_none_to_our_offer(answer: AudioMedia, message: str) -> None:
    sdes = Sdes(MANDATORY)
    sdes.offer(local())
    with pytest.raises(SdpError, match=message):
        sdes.accept(answer)
    assert sdes.keys is None
    assert sdes.is_waiting


def test_an_optional_offer_may_be_answered_plain_but_not_savp_without_keys() -> None:
    sdes = Sdes(OPTIONAL)
    sdes.offer(local(profile="RTP/AVP"))
    with pytest.raises(SdpError, match="the answer is RTP/SAVP without a=crypto"):
        sdes.accept(audio())
    sdes.accept(audio(profile="RTP/AVP"))
    assert (sdes.keys, sdes.is_waiting) == (None, False)


def test_the_second_answer_to_one_offer_counts() -> None:
    """A 183 of one phone, the 200 of another."""
    sdes = Sdes(MANDATORY)
    sdes.offer(local())
    sdes.accept(audio(line(1, key=KEY)))
    sdes.accept(audio(line(2, SUITE_32, OTHER)))
    assert sdes.keys == SrtpKeys(SUITE_32, bytes(range(30)), bytes(range(30, 60)))


def test_while_an_offer_of_ours_is_out_the_keys_stay_and_a_refused_one_changes_nothing() -> None:
    sdes = Sdes(MANDATORY)
    assert sdes.answer(local(OTHER, suites=(SUITE_80,)), audio(line(5))) == (line(5, key=OTHER),)
    before = SrtpKeys(SUITE_80, bytes(range(30, 60)), bytes(range(30)))
    assert sdes.keys == before
    sdes.offer(local())
    assert (sdes.keys, sdes.is_waiting) == (before, True)
    with pytest.raises(SdpError):
        sdes.answer(local(), audio(profile="RTP/AVP"))
    assert sdes.keys == before


def test_our_line_of_an_answer_has_the_peers_tag_and_suite_whatever_pjsua_took() -> None:
    """pjsua takes the first line of a suite that it knows, key derivation or not."""
    offer = audio(line(7, more=" KDR=3"), line(8, SUITE_32, OTHER))
    sdes = Sdes(MANDATORY)
    assert sdes.answer(local(suites=(SUITE_80,)), offer) == (line(8, SUITE_32),)
    assert sdes.keys == SrtpKeys(SUITE_32, bytes(range(30)), bytes(range(30, 60)))


def test_our_key_of_a_suite_stays_for_the_whole_dialog() -> None:
    sdes = Sdes(MANDATORY)
    sdes.answer(local(KEY, suites=(SUITE_80,)), audio(line(1, key=OTHER)))
    assert sdes.answer(local(OTHER, suites=(SUITE_80,)), audio(line(3, key=OTHER))) == (line(3, key=KEY),)
    assert sdes.answer(local(OTHER, suites=(SUITE_80,)), audio(line(4, SUITE_32))) == (
        line(4, SUITE_32, OTHER),
    )
    assert sdes.offer(local(OTHER)) == (line(1, key=KEY), line(2, SUITE_32, OTHER))


def test_an_answer_of_which_only_the_key_is_known() -> None:
    sdes = Sdes(MANDATORY)
    sdes.offer(local(KEY))
    sdes.accept_key(SUITE_32, bytes(range(30, 60)))
    assert sdes.keys == SrtpKeys(SUITE_32, bytes(range(30)), bytes(range(30, 60)))
    assert not sdes.is_waiting


@st.composite
def policies(draw: st.DrawFn) -> SrtpPolicy:
    use = draw(st.sampled_from(["off", "optional", "mandatory"]))
    return SrtpPolicy(use, tuple(draw(st.permutations(BOTH)))[: draw(st.integers(1, 2))])  # type: ignore[arg-type]


@given(caller=policies(), callee=policies())
def test_two_ends_have_the_same_keys_crosswise_or_none_or_a_488(
    caller: SrtpPolicy, callee: SrtpPolicy
) -> None:
    calling, called = Sdes(caller), Sdes(callee)
    profile = "RTP/SAVP" if caller.use == "mandatory" else "RTP/AVP"
    offer = audio(*calling.offer(local(KEY, profile=profile)), profile=profile)
    common = [suite for suite in caller.suites if suite in callee.suites]
    try:
        cryptos = called.answer(local(OTHER, profile=profile), offer)
    except SdpError:
        assert {caller.use, callee.use} >= {"mandatory"}
        assert caller.use != callee.use or not common
        return
    if calling.may_be_answered:
        calling.accept(audio(*cryptos, profile=profile))
    if called.keys is None:
        assert (calling.keys, cryptos) == (None, ())
        assert "off" in (caller.use, callee.use) or not common
        return
    assert calling.keys == SrtpKeys(called.keys.suite, local=called.keys.remote, remote=called.keys.local)
    assert called.keys.suite == common[0]


def crypto_values() -> st.SearchStrategy[str]:
    tags = st.integers(1, 9)
    suites = st.sampled_from([*BOTH, SUITE_256, "F8_128_HMAC_SHA1_80"])
    more = st.sampled_from(["", "", "|2^31", "|2^20|1:4", " KDR=1", " WSH=64", " UNENCRYPTED_SRTP", " -X"])
    return st.builds(lambda tag, suite, tail: line(tag, suite, more=tail), tags, suites, more)


@given(
    st.lists(crypto_values(), max_size=5),
    policies(),
    st.sampled_from(["RTP/AVP", "RTP/SAVP", "RTP/SAVPF", "udp"]),
)
def test_what_is_taken_can_be_run_and_is_the_first_that_can(
    values: list[str], policy: SrtpPolicy, profile: str
) -> None:
    try:
        chosen = choose(audio(*values, profile=profile), policy)
    except SdpError:
        return
    if chosen is None:
        assert profile == "RTP/AVP"
        assert policy.use != "mandatory"
        return
    assert policy.use != "off"
    runnable = [
        each for each in map(parse_crypto, values) if not each.unusable and each.suite in policy.suites
    ]
    assert chosen == runnable[0]


# ---- in an SDP ---------------------------------------------------------------------------------------------

OFFER = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=crypto:9 AT_SESSION_LEVEL inline:x\r\n"
    f"m=audio 0 RTP/SAVP 0\r\na=crypto:1 {SUITE_80} inline:{OTHER}\r\n"
    f"m=audio 4000 RTP/SAVP 0\r\na=rtpmap:0 PCMU/8000\r\na=crypto:1 {SUITE_256} inline:{LONG}\r\n"
    f"a=crypto:2 {SUITE_80} inline:{KEY}\r\na=sendrecv\r\n"
    f"m=video 4002 RTP/SAVP 96\r\na=crypto:1 {SUITE_80} inline:{OTHER}\r\n"
)


def cryptos_of(text: str) -> Iterator[str]:
    return (each for each in text.split("\r\n") if each.startswith("a=crypto"))


def test_only_the_lines_of_our_stream_are_read_and_written() -> None:
    assert parse_audio(OFFER).cryptos == (line(1, SUITE_256, LONG), line(2))
    shaped = shape_local(OFFER, address="192.0.2.9", port=6000, codecs=["PCMU"], cryptos=[line(1)])
    assert parse_audio(shaped).cryptos == (line(1),)
    assert len([*cryptos_of(shaped)]) == 3  # those of the other streams stay as pjsua wrote them


def test_nothing_is_offered_that_was_not_asked_for() -> None:
    shaped = shape_local(OFFER, address="192.0.2.9", port=6000, codecs=["PCMU"])
    assert parse_audio(shaped).cryptos == ()


PAIR = "v=0\r\nc=IN IP4 192.0.2.1\r\nm=video 2 RTP/AVP 96\r\nm=audio 4 {} 0\r\nm=audio 0 {} 0\r\nm=audio 8 {} 0\r\n"


@pytest.mark.parametrize(
    ("use", "profiles", "port"),
    [
        ("off", ("RTP/SAVP", "RTP/AVP", "RTP/AVP"), 8),  # the second has no port
        ("optional", ("RTP/AVP", "RTP/SAVP", "RTP/SAVP"), 8),
        ("mandatory", ("RTP/AVPF", "RTP/SAVPF", "RTP/SAVPF"), 8),
        ("optional", ("RTP/AVP", "RTP/SAVP", "RTP/AVP"), 4),
        ("off", ("RTP/SAVP", "RTP/SAVP", "RTP/SAVP"), 4),  # for choose to refuse
    ],
)
def test_the_stream_that_is_taken_of_several(
    use: Literal["off", "optional", "mandatory"], profiles: tuple[str, ...], port: int
) -> None:
    offered = parse_audios(PAIR.format(*profiles))
    taken = pick(offered, SrtpPolicy(use, (SUITE_80,)))
    assert (taken.port, taken.place) == (port, {4: 1, 8: 3}[port])


def test_the_stream_that_is_shaped_is_the_one_taken() -> None:
    shaped = shape_local(
        PAIR.format(*["RTP/AVP"] * 3), address="192.0.2.9", port=6000, codecs=["PCMU"], place=3
    )
    assert [each.port for each in parse_audios(shaped)] == [4, 6000]
    with pytest.raises(SdpError, match="m= line 3 of the SDP"):
        shape_local(PAIR.format(*["RTP/AVP"] * 3), address="192.0.2.9", port=6000, codecs=["PCMU"], place=2)
