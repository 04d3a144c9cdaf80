"""SDP (RFC 8866) as offer/answer (RFC 3264) needs it for one audio stream. No I/O.

pjsua2 negotiates; we shape what it offers or answers (``shape_local``) and choose the codec from the offer
before anything else is set up (``choose_codec``), because the voice session's format follows it.
Of several acceptable codecs the offerer's first wins (RFC 3264 section 6.1: the offer lists them by preference).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from rtp.codec import CODECS
from sipua.errors import RemoteError

# RFC 3551 section 6, the static assignments a trunk may offer without rtpmap.
_STATIC = {0: "PCMU", 3: "GSM", 4: "G723", 8: "PCMA", 9: "G722", 13: "CN", 18: "G729"}
_CGNAT = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598
TELEPHONE_EVENT_PT = 101  # dynamic by RFC 4733, but gateways exist that know it by this number only
_TELEPHONE_EVENT = ("TELEPHONE-EVENT", 8000)
_DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
PTIME_STEP_MS, MAX_PTIME_MS = 10, 60
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,32}")  # RFC 8866 section 9
_PJSUA_ONLY = ("a=crypto:", "a=rtcp:", "a=ssrc:", "a=X-nat", "a=rtcp-mux", "b=TIAS:", "b=AS:")


class SdpError(RemoteError):
    """An SDP that cannot be used; the message names the line or attribute."""

    reason = "bad_sdp"


class AddressKind(Enum):
    """What may be sent to the address of a ``c=`` line before symmetric RTP has learned the true source."""

    UNICAST = "unicast"
    HOLD = "hold"  # 0.0.0.0 or ::, RFC 2543 hold
    PRIVATE = "private"  # RFC 1918, link-local, CGNAT: usable only where the signalling is private too
    UNUSABLE = "unusable"  # multicast, broadcast, reserved, a name


@dataclass(frozen=True, slots=True)
class PayloadFormat:
    """One payload type of an ``m=`` line; ``name`` upper case."""

    payload_type: int
    name: str
    clock_rate: int


@dataclass(frozen=True, slots=True)
class AudioMedia:
    """An ``m=audio`` line with a port: where the peer wants RTP, which formats in which order, ptimes in ms.

    ``cryptos`` are the values of its ``a=crypto`` lines, for ``sipua.sdes``; ``place`` counts all ``m=`` lines from 0.
    """

    address: str
    port: int
    formats: tuple[PayloadFormat, ...]
    direction: str
    ptime_ms: int | None
    profile: str
    cryptos: tuple[str, ...] = ()
    place: int = 0
    maxptime_ms: int | None = None

    def named(self, name: str) -> PayloadFormat | None:
        return next((f for f in self.formats if f.name == name.upper()), None)


def classify_address(address: str) -> AddressKind:
    """Where RTP may go; names are not resolved (RFC 8866 allows them, no trunk uses them)."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return AddressKind.UNUSABLE
    if ip.is_unspecified:
        return AddressKind.HOLD
    if ip.is_multicast or ip.is_reserved or address == "255.255.255.255":
        return AddressKind.UNUSABLE
    if (ip.is_private and not ip.is_loopback) or (ip.version == 4 and ip in _CGNAT):
        return AddressKind.PRIVATE
    return AddressKind.UNICAST


@dataclass(slots=True)
class _Section:
    """The lines below one ``m=audio`` line."""

    place: int
    m_line: list[str]
    attributes: dict[str, str] = field(default_factory=dict)
    maps: dict[int, tuple[str, int]] = field(default_factory=dict)
    cryptos: list[str] = field(default_factory=list)


def parse_audio(text: str) -> AudioMedia:
    """The first audio stream of an offer or answer. Raises SdpError naming what is missing or malformed."""
    session, sections = _sections(text)
    return _build(sections[0], session)


def parse_audio_at(text: str, place: int | None) -> AudioMedia:
    """The audio stream at that place, the first for None. SdpError as above, also where it has no port."""
    found = parse_audios(text)
    if place is None:
        return found[0]
    for each in found:
        if each.place == place:
            return each
    raise SdpError(f"m= line {place + 1} of the SDP is no m=audio line with a port")


def parse_audios(text: str) -> tuple[AudioMedia, ...]:
    """All audio streams with a port: desk phones offer one with SRTP and one without. SdpError as above."""
    session, sections = _sections(text)
    return tuple(_build(section, session) for section in sections)


def _sections(text: str) -> tuple[dict[str, str], list[_Section]]:
    session: dict[str, str] = {}
    sections: list[_Section] = []
    section: _Section | None = None
    target: dict[str, str] | None = session  # of the lines that follow; None: a stream that is not for us
    place = -1
    for raw in text.replace("\r", "").split("\n"):
        key, _, value = raw.partition("=")
        if key == "m":
            place += 1
            section, target, parts = None, None, value.split()
            if parts[:1] == ["audio"] and len(parts) >= 4 and parts[1].partition("/")[0] != "0":
                section = _Section(place, parts)
                sections.append(section)
                target = section.attributes
        if target is None:
            continue
        if key == "c":
            target["c"] = value
        elif key == "a":
            name, _, arg = value.partition(":")
            if name == "rtpmap" and section is not None:
                _read_rtpmap(arg, section.maps)
            elif name in _DIRECTIONS:
                target["direction"] = name
            elif name in ("ptime", "maxptime"):
                target[name] = arg
            elif name == "crypto" and section is not None:  # RFC 4568 section 4: of a stream only
                section.cryptos.append(arg)
    if not sections:
        raise SdpError("the SDP has no m=audio line with a port")
    return session, sections


def _read_rtpmap(arg: str, maps: dict[int, tuple[str, int]]) -> None:
    pt, _, encoding = arg.partition(" ")
    name, _, rate = encoding.partition("/")
    rate = rate.partition("/")[0]
    if _is_number(pt) and _is_number(rate) and _TOKEN.fullmatch(name.strip()):
        maps[int(pt)] = (name.strip().upper(), int(rate))


def _is_number(text: str) -> bool:
    # isdigit alone takes superscripts, which int does not
    return len(text) <= 9 and text.isascii() and text.isdigit()


def _build(section: _Section, session: dict[str, str]) -> AudioMedia:
    m_line, attributes = section.m_line, {**session, **section.attributes}
    port_text = m_line[1].partition("/")[0]
    if not _is_number(port_text) or int(port_text) > 65535:
        raise SdpError(f"m=audio: port {m_line[1]!r} is not 1..65535")
    connection = attributes.get("c", "").split()
    if len(connection) != 3:
        raise SdpError("the SDP has no c= line for its audio")
    formats: list[PayloadFormat] = []
    for text in m_line[3:]:
        if not _is_number(text) or int(text) > 127:
            raise SdpError(f"m=audio: payload type {text!r} is not 0..127")
        pt = int(text)
        name, rate = section.maps.get(pt, (_STATIC.get(pt, ""), 8000))
        if name:
            formats.append(PayloadFormat(pt, name, rate))
    return AudioMedia(
        address=connection[2].partition("/")[0],
        port=int(port_text),
        formats=tuple(formats),
        direction=attributes.get("direction", "sendrecv"),
        ptime_ms=_milliseconds(attributes.get("ptime", "")),
        profile=m_line[2],
        cryptos=tuple(section.cryptos),
        place=section.place,
        maxptime_ms=_milliseconds(attributes.get("maxptime", "")),
    )


def _milliseconds(text: str) -> int | None:
    return int(text) if _is_number(text) and int(text) > 0 else None


def packet_ms(media: AudioMedia, ours: int) -> int:
    """How much sound a packet to the peer has: what it asks for, else ``ours``, and no more than it can take.

    In whole steps of 10 ms (RFC 3551 section 4.5), from 10 to 60.
    """
    wanted = min(media.ptime_ms or ours, media.maxptime_ms or MAX_PTIME_MS, MAX_PTIME_MS)
    return max(PTIME_STEP_MS, wanted - wanted % PTIME_STEP_MS)


def choose_codec(
    media: AudioMedia, allowed: Sequence[str], *, prefer: str | None = None
) -> PayloadFormat | None:
    """The codec for the call: ``prefer`` (the one in use) if still offered, else the offer's first that we allow."""
    names = [name.upper() for name in allowed]
    candidates = [f for f in media.formats if f.name in names and f.clock_rate == _clock_rate(f.name)]
    for candidate in candidates:
        if candidate.name == prefer:
            return candidate
    return candidates[0] if candidates else None


def _clock_rate(name: str) -> int:
    """By which a codec of ours is known; another is none of ours."""
    codec = CODECS.get(name)
    return 8000 if codec is None else codec.clock_rate


def accept(media: AudioMedia, allowed: Sequence[str], *, prefer: str | None = None) -> PayloadFormat:
    """The codec for an offer that we can take. SdpError (for a 488) says why we cannot: address or codecs."""
    if classify_address(media.address) is AddressKind.UNUSABLE:
        raise SdpError(f"c= address {media.address} cannot receive RTP (multicast, reserved or no address)")
    chosen = choose_codec(media, allowed, prefer=prefer)
    if chosen is None:
        offered = ", ".join(f.name for f in media.formats) or "nothing we know"
        raise SdpError(f"no common codec: offered {offered}; allowed {', '.join(allowed)}")
    return chosen


def shape_local(
    text: str,
    *,
    address: str,
    port: int,
    codecs: Sequence[str],
    cryptos: Sequence[str] = (),
    ptime_ms: int = 20,
    place: int | None = None,
    has_telephone_events: bool = True,
) -> str:
    """pjsua's local SDP with our RTP address and port, only ``codecs`` (in this order), telephone-event, ``cryptos``.

    ``place`` is that of the stream that is ours, else the first. Other streams stay as pjsua wrote them: of a pair with
    and without SRTP it refuses the latter itself, after this. Telephone events are at 8 kHz whatever the codec, as
    gateways know no others. Lines that describe pjsua's own (absent) socket are dropped, and its telephone-event type
    becomes the usual one.
    Raises SdpError if none of ``codecs`` is there.
    """
    lines = [line for line in text.replace("\r", "").split("\n") if line]
    ours = parse_audio_at(text, place)
    keep = [f for name in codecs if (f := ours.named(name)) is not None]
    if not keep:
        raise SdpError(f"none of {', '.join(codecs)} is in the local SDP")
    event = next((f for f in ours.formats if (f.name, f.clock_rate) == _TELEPHONE_EVENT), None)
    pts = [f.payload_type for f in keep]
    if event is not None and has_telephone_events:
        pts.append(TELEPHONE_EVENT_PT)
    fmtps = {f.payload_type: CODECS[f.name].fmtp for f in keep if f.name in CODECS and CODECS[f.name].fmtp}
    family = "IP6" if ":" in address else "IP4"
    last = [
        *(f"a=fmtp:{pt} {fmtp}" for pt, fmtp in fmtps.items()),
        *(f"a=crypto:{each}" for each in cryptos),
        f"a=ptime:{ptime_ms}",
    ]
    dropped = (*_PJSUA_ONLY, "a=ptime:", "a=maxptime:", *(f"a=fmtp:{pt} " for pt in fmtps))
    shaped: list[str] = []
    section = "session"  # then "audio" below the stream that is ours, "other" below those that pjsua refuses
    count = -1
    for line in lines:
        if line.startswith("m="):
            count += 1
            if section == "audio":
                shaped += last
            section = "audio" if count == ours.place else "other"
        if section == "other":
            shaped.append(line)
            continue
        if event is not None:
            line = _renumbered(line, event.payload_type, TELEPHONE_EVENT_PT)
        if line.startswith("m="):
            shaped.append(f"m=audio {port} {line.split()[2]} {' '.join(map(str, pts))}")
        elif line.startswith("c="):
            shaped.append(f"c=IN {family} {address}")
        elif line.startswith("o="):
            owner = line.split(" ")
            shaped.append(" ".join([*owner[:4], family, address]))
        elif line.startswith("s="):
            shaped.append("s=-")
        elif line.startswith(dropped) or _drops_format(line, pts):
            continue
        else:
            shaped.append(line)
    if section == "audio":
        shaped += last
    return "\r\n".join(shaped) + "\r\n"


def _renumbered(line: str, old: int, new: int) -> str:
    for prefix in ("a=rtpmap:", "a=fmtp:"):
        if line.startswith(f"{prefix}{old} "):
            return f"{prefix}{new}{line[len(prefix) + len(str(old)) :]}"
    return line


def _drops_format(line: str, keep: Sequence[int]) -> bool:
    for prefix in ("a=rtpmap:", "a=fmtp:"):
        if line.startswith(prefix):
            pt = line[len(prefix) :].split(" ")[0]
            return not pt.isdigit() or int(pt) not in keep
    return False
