"""SDP as trunks and softphones write it: what is read, chosen and made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.sdp import (
    AddressKind,
    PayloadFormat,
    SdpError,
    choose_codec,
    classify_address,
    packet_ms,
    parse_audio,
    shape_local,
)


def sdp(*lines: str, end: str = "\r\n") -> str:
    return end.join(lines) + end


# baresip 1.0 (Debian 12), the media attributes it sends
BARESIP = sdp(
    "v=0", "o=- 3904821733 1714013241 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0",
    "m=audio 21544 RTP/AVP 96 9 0 8 101", "a=rtpmap:96 opus/48000/2", "a=rtpmap:9 G722/8000",
    "a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15",
    "a=rtcp:21545", "a=sendrecv", "a=label:1", "a=rtcp-rsize", "a=ssrc:2437437487 cname:sip:bob@127.0.0.1",
    "a=ptime:20",
)  # fmt: skip
# Linphone 5: AVPF, rtcp-fb, a session-level bandwidth and two streams
LINPHONE = sdp(
    "v=0", "o=bob 1540 2361 IN IP4 192.168.1.20", "s=Talk", "c=IN IP4 192.168.1.20", "b=AS:380", "t=0 0",
    "a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics",
    "m=audio 7078 RTP/AVPF 96 97 98 0 8 18 101 99", "a=rtpmap:96 opus/48000/2", "a=fmtp:96 useinbandfec=1",
    "a=rtpmap:97 speex/16000", "a=fmtp:97 vbr=on", "a=rtpmap:98 speex/8000", "a=fmtp:18 annexb=yes",
    "a=rtpmap:101 telephone-event/48000", "a=rtpmap:99 telephone-event/8000", "a=rtcp-fb:* trr-int 5000",
    "m=video 9078 RTP/AVPF 96", "c=IN IP4 192.0.2.9", "a=rtpmap:96 VP8/90000", "a=inactive",
)  # fmt: skip
TWILIO = sdp(
    "v=0", "o=root 1902117467 1902117467 IN IP4 172.18.155.180", "s=Twilio Media Gateway", "c=IN IP4 168.86.138.195",
    "t=0 0", "m=audio 11374 RTP/AVP 0 8 101", "a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000",
    "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16", "a=ptime:20", "a=maxptime:20", "a=sendrecv",
)  # fmt: skip
# sipp's built-in uac scenario: static types, no rtpmap for 0
SIPP = sdp(
    "v=0", "o=user1 53655765 2353687637 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0",
    "m=audio 6000 RTP/AVP 0",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "address", "port", "names", "profile", "ptime"),
    [
        pytest.param(BARESIP, "127.0.0.1", 21544, ["OPUS", "G722", "PCMU", "PCMA", "TELEPHONE-EVENT"],
                     "RTP/AVP", 20, id="baresip"),
        pytest.param(LINPHONE, "192.168.1.20", 7078,
                     ["OPUS", "SPEEX", "SPEEX", "PCMU", "PCMA", "G729", "TELEPHONE-EVENT", "TELEPHONE-EVENT"],
                     "RTP/AVPF", None, id="linphone"),
        pytest.param(TWILIO, "168.86.138.195", 11374, ["PCMU", "PCMA", "TELEPHONE-EVENT"], "RTP/AVP", 20, id="twilio"),
        pytest.param(SIPP, "127.0.0.1", 6000, ["PCMU"], "RTP/AVP", None, id="sipp"),
    ],
)  # fmt: skip
def test_an_offer_of(
    text: str, address: str, port: int, names: list[str], profile: str, ptime: int | None
) -> None:
    media = parse_audio(text)
    assert (media.address, media.port, media.profile, media.ptime_ms) == (address, port, profile, ptime)
    assert [each.name for each in media.formats] == names
    assert media.direction == "sendrecv"


@pytest.mark.parametrize(
    ("lines", "ours", "ms"),
    [
        ((), 30, 30),
        (("a=ptime:40",), 20, 40),
        (("a=maxptime:20",), 60, 20),
        (("a=ptime:60", "a=maxptime:30"), 20, 30),
        (("a=ptime:25",), 20, 20),  # in whole steps of 10 ms
        (("a=ptime:5",), 20, 10),
        (("a=ptime:200",), 20, 60),
        (("a=ptime:0", "a=maxptime:0"), 20, 20),
        (("a=ptime:x", "a=maxptime:²"), 20, 20),
    ],
)
def test_how_much_sound_a_packet_to_the_peer_has(lines: tuple[str, ...], ours: int, ms: int) -> None:
    assert packet_ms(parse_audio(sdp("m=audio 4000 RTP/AVP 0", "c=IN IP4 192.0.2.1", *lines)), ours) == ms


@pytest.mark.parametrize(
    ("text", "allowed", "prefer", "chosen"),
    [
        (BARESIP, ("PCMA", "PCMU"), None, 0),  # the offer's order counts, not ours
        (BARESIP, ("PCMA",), None, 8),
        (BARESIP, ("PCMU", "PCMA"), "PCMA", 8),  # the one in use stays
        (BARESIP, ("PCMU",), "PCMA", 0),
        (LINPHONE, ("PCMA", "PCMU"), None, 0),
        (TWILIO, ("PCMU", "PCMA"), None, 0),
        (SIPP, ("PCMA",), None, None),
        (LINPHONE, ("SPEEX",), None, 98),  # of one name the one with 8 kHz
        (TWILIO, ("pcma",), None, 8),
    ],
)
def test_the_codec_is_the_offers_first_that_we_allow(
    text: str, allowed: tuple[str, ...], prefer: str | None, chosen: int | None
) -> None:
    found = choose_codec(parse_audio(text), allowed, prefer=prefer)
    assert (found.payload_type if found else None) == chosen


def test_a_static_type_needs_no_rtpmap_and_a_dynamic_one_does() -> None:
    text = sdp("v=0", "c=IN IP4 192.0.2.1", "m=audio 1000 RTP/AVP 0 8 18 13 77 96", "a=rtpmap:96 pcma/8000")
    assert parse_audio(text).formats == (
        PayloadFormat(0, "PCMU", 8000),
        PayloadFormat(8, "PCMA", 8000),
        PayloadFormat(18, "G729", 8000),
        PayloadFormat(13, "CN", 8000),
        PayloadFormat(96, "PCMA", 8000),  # 77 has no meaning and is left out
    )


def test_a_dynamic_number_for_g711_is_found_by_name() -> None:
    text = sdp("v=0", "c=IN IP4 192.0.2.1", "m=audio 1000 RTP/AVP 97", "a=rtpmap:97 PCMU/8000/1")
    found = choose_codec(parse_audio(text), ["PCMU"])
    assert found == PayloadFormat(97, "PCMU", 8000)


@pytest.mark.parametrize(
    ("session", "media", "address"),
    [
        ("c=IN IP4 192.0.2.1", None, "192.0.2.1"),
        (None, "c=IN IP4 192.0.2.2", "192.0.2.2"),
        ("c=IN IP4 192.0.2.1", "c=IN IP4 192.0.2.2", "192.0.2.2"),  # the stream's own wins
        ("c=IN IP6 2001:db8::1", None, "2001:db8::1"),
        ("c=IN IP4 224.2.1.1/127", None, "224.2.1.1"),
    ],
)
def test_the_connection_at_both_levels(session: str | None, media: str | None, address: str) -> None:
    lines = ["v=0", session, "m=audio 1000 RTP/AVP 0", media]
    assert parse_audio(sdp(*(line for line in lines if line))).address == address


@pytest.mark.parametrize("line", ["a=sendonly", "a=recvonly", "a=inactive", "a=sendrecv"])
@pytest.mark.parametrize("level", ["session", "media"])
def test_hold_at_both_levels(line: str, level: str) -> None:
    head, tail = ["v=0", "c=IN IP4 192.0.2.1"], ["m=audio 1000 RTP/AVP 0"]
    (head if level == "session" else tail).append(line)
    assert parse_audio(sdp(*head, *tail)).direction == line.removeprefix("a=")


def test_the_streams_own_direction_wins() -> None:
    text = sdp("v=0", "c=IN IP4 192.0.2.1", "a=sendonly", "m=audio 1000 RTP/AVP 0", "a=sendrecv")
    assert parse_audio(text).direction == "sendrecv"


def test_only_the_first_audio_with_a_port_counts() -> None:
    text = sdp(
        "v=0", "c=IN IP4 192.0.2.1",
        "m=video 3000 RTP/AVP 31", "c=IN IP4 192.0.2.3", "a=inactive",
        "m=audio 0 RTP/AVP 8", "c=IN IP4 192.0.2.4", "a=rtpmap:96 L16/8000",
        "m=audio 1000 RTP/AVP 0 96", "a=rtpmap:96 PCMA/8000",
        "m=audio 2000 RTP/AVP 8", "c=IN IP4 192.0.2.5", "a=sendonly",
    )  # fmt: skip
    media = parse_audio(text)
    assert (media.address, media.port, media.direction) == ("192.0.2.1", 1000, "sendrecv")
    assert [each.name for each in media.formats] == ["PCMU", "PCMA"]


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_line_ends_of_both_kinds(end: str) -> None:
    assert parse_audio(SIPP.replace("\r\n", end)).port == 6000


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        pytest.param([], "no m=audio", id="empty"),
        pytest.param(["v=0", "c=IN IP4 192.0.2.1"], "no m=audio", id="no media"),
        pytest.param(["c=IN IP4 192.0.2.1", "m=audio 0 RTP/AVP 0"], "no m=audio line with a port", id="port 0"),
        pytest.param(["c=IN IP4 192.0.2.1", "m=audio 1000 RTP/AVP"], "no m=audio", id="no formats"),
        pytest.param(["c=IN IP4 192.0.2.1", "m=video 1000 RTP/AVP 31"], "no m=audio", id="video only"),
        pytest.param(["c=IN IP4 192.0.2.1", "m=audio x RTP/AVP 0"], "m=audio: port 'x'", id="port no number"),
        pytest.param(["c=IN IP4 192.0.2.1", "m=audio 65536 RTP/AVP 0"], "port '65536'", id="port too high"),
        pytest.param(["c=IN IP4 192.0.2.1", "m=audio -1 RTP/AVP 0"], "port '-1'", id="port below 0"),
        pytest.param(["m=audio 1000 RTP/AVP 0"], "no c= line", id="no connection"),
        pytest.param(["c=IN IP4", "m=audio 1000 RTP/AVP 0"], "c=", id="connection cut off"),
        pytest.param(["c=IN IP4 192.0.2.1", "m=audio 1000 RTP/AVP pcmu"], "payload type 'pcmu'", id="type a name"),
        pytest.param(["c=IN IP4 192.0.2.1", "m=audio 1000 RTP/AVP 0 128"], "payload type '128'", id="type too high"),
    ],
)  # fmt: skip
def test_a_malformed_offer_is_named(lines: list[str], said: str) -> None:
    with pytest.raises(SdpError, match=said):
        parse_audio(sdp(*lines))


ALPHABET = st.sampled_from(
    ["v=0", "c=IN IP4 192.0.2.1", "c=", "c=IN IP4 ²", "m=audio 1000 RTP/AVP 0", "m=audio ² RTP/AVP ²", "m=", "m=audio",
     "a=rtpmap:²  PCMU/²", "a=rtpmap:0", "a=ptime:²", "a=rtpmap:96 x/8000", "a", "=", "", "a=sendonly"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(ALPHABET).map("\r\n".join)))
def test_no_text_gives_another_error(text: str) -> None:
    try:
        media = parse_audio(text)
    except SdpError:
        return
    assert 0 < media.port <= 65535


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("198.51.100.7", AddressKind.PRIVATE),  # documentation nets are not global
        ("168.86.138.195", AddressKind.UNICAST),
        ("127.0.0.1", AddressKind.UNICAST),
        ("2a00:1450::1", AddressKind.UNICAST),
        ("0.0.0.0", AddressKind.HOLD),
        ("::", AddressKind.HOLD),
        ("10.1.2.3", AddressKind.PRIVATE),
        ("172.31.0.1", AddressKind.PRIVATE),
        ("192.168.1.20", AddressKind.PRIVATE),
        ("169.254.0.1", AddressKind.PRIVATE),
        ("100.64.0.1", AddressKind.PRIVATE),  # carrier-grade NAT
        ("fe80::1", AddressKind.PRIVATE),
        ("224.0.0.1", AddressKind.UNUSABLE),
        ("255.255.255.255", AddressKind.UNUSABLE),
        ("240.0.0.1", AddressKind.UNUSABLE),
        ("ff02::1", AddressKind.UNUSABLE),
        ("media.example.org", AddressKind.UNUSABLE),
        ("", AddressKind.UNUSABLE),
    ],
)
def test_where_rtp_may_go(address: str, kind: AddressKind) -> None:
    assert classify_address(address) is kind


# what pjsua makes for its own (absent) socket
LOCAL = sdp(
    "v=0", "o=- 3971234567 3971234567 IN IP4 10.0.0.5", "s=pjmedia", "b=AS:84", "t=0 0", "a=X-nat:0",
    "m=audio 4000 RTP/AVP 8 0 101", "c=IN IP4 10.0.0.5", "b=TIAS:64000", "a=rtcp:4001 IN IP4 10.0.0.5", "a=sendrecv",
    "a=rtpmap:8 PCMA/8000", "a=rtpmap:0 PCMU/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16",
    "a=ssrc:1 cname:x", "a=ptime:30",
)  # fmt: skip


@pytest.mark.parametrize(
    ("codecs", "formats"),
    [(["PCMU"], "0 101"), (["PCMA"], "8 101"), (["PCMU", "PCMA"], "0 8 101"), (["PCMA", "G722", "PCMU"], "8 0 101")],
)  # fmt: skip
def test_our_sdp_keeps_only_what_was_chosen(codecs: list[str], formats: str) -> None:
    shaped = shape_local(LOCAL, address="192.0.2.9", port=16000, codecs=codecs)
    lines = shaped.split("\r\n")
    assert f"m=audio 16000 RTP/AVP {formats}" in lines
    assert "o=- 3971234567 3971234567 IN IP4 192.0.2.9" in lines
    assert "c=IN IP4 192.0.2.9" in lines
    assert "a=ptime:20" in lines
    assert "10.0.0.5" not in shaped
    assert {each.split(":")[0] for each in lines if each.startswith("a=")} == {
        "a=sendrecv", "a=rtpmap", "a=fmtp", "a=ptime",
    }  # fmt: skip
    assert {line.split()[0] for line in lines if line.startswith("a=rtpmap")} == {
        f"a=rtpmap:{pt}" for pt in formats.split()
    }
    media = parse_audio(shaped)
    assert (media.address, media.port, media.ptime_ms) == ("192.0.2.9", 16000, 20)


# what pjsua makes for its own socket where it has Opus
LOCAL_WIDE = sdp(
    "v=0", "o=- 3971234567 3971234567 IN IP4 10.0.0.5", "s=pjmedia", "b=AS:84", "t=0 0", "a=X-nat:0",
    "m=audio 4000 RTP/AVP 0 96 9 120 121", "c=IN IP4 10.0.0.5", "a=sendrecv", "a=rtpmap:0 PCMU/8000",
    "a=rtpmap:96 opus/48000/2", "a=fmtp:96 useinbandfec=1", "a=rtpmap:9 G722/8000",
    "a=rtpmap:120 telephone-event/8000", "a=fmtp:120 0-16", "a=rtpmap:121 telephone-event/48000", "a=fmtp:121 0-16",
)  # fmt: skip


def test_our_opus_is_mono_of_24_khz_and_keys_are_at_8_khz() -> None:
    shaped = shape_local(LOCAL_WIDE, address="192.0.2.9", port=16000, codecs=["OPUS", "PCMU"])
    lines = shaped.split("\r\n")
    assert "m=audio 16000 RTP/AVP 96 0 101" in lines
    assert {line for line in lines if line.startswith(("a=rtpmap", "a=fmtp"))} == {
        "a=rtpmap:96 opus/48000/2", "a=rtpmap:0 PCMU/8000", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16",
        "a=fmtp:96 maxplaybackrate=24000;sprop-maxcapturerate=24000;stereo=0;useinbandfec=0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "allowed", "chosen"),
    [
        (BARESIP, ["PCMU", "OPUS"], PayloadFormat(96, "OPUS", 48000)),
        (BARESIP, ["opus"], PayloadFormat(96, "OPUS", 48000)),
        (BARESIP, ["G722"], PayloadFormat(9, "G722", 8000)),
        (BARESIP.replace("opus/48000/2", "opus/16000"), ["OPUS", "PCMU"], PayloadFormat(0, "PCMU", 8000)),
    ],
)
def test_a_codec_is_known_by_name_and_clock(text: str, allowed: list[str], chosen: PayloadFormat) -> None:
    assert choose_codec(parse_audio(text), allowed) == chosen


def test_our_sdp_for_keys_that_travel_in_the_sound() -> None:
    shaped = shape_local(
        LOCAL, address="192.0.2.9", port=16000, codecs=["PCMU", "PCMA"], has_telephone_events=False
    )
    assert "m=audio 16000 RTP/AVP 0 8\r\n" in shaped
    assert "101" not in shaped
    assert "telephone-event" not in shaped


def test_our_sdp_on_ipv6() -> None:
    shaped = shape_local(LOCAL, address="2001:db8::9", port=16000, codecs=["PCMU"])
    assert "c=IN IP6 2001:db8::9\r\n" in shaped
    assert "IN IP6 2001:db8::9" in shaped.split("\r\n")[1]


def test_an_sdp_without_the_codec_cannot_be_shaped() -> None:
    with pytest.raises(SdpError, match="none of G722, GSM"):
        shape_local(LOCAL, address="192.0.2.9", port=16000, codecs=["G722", "GSM"])
