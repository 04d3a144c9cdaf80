"""One media leg: every decision about a call's RTP, without I/O and without a clock.

Bytes and ``now`` go in, events and bytes come out; ``transport.MediaTransport`` has the sockets,
``pacer.Pacer`` the clock. A datagram's way in: SRTP if it was negotiated → version and length → payload type →
source lock → statistics → uplink (reorder, conceal) → ``AudioFrame`` in the application's codec. What is turned away on
this way is counted by kind in ``dropped`` and is never an exception. A tick's way out is in ``sender``.

Two codecs: ``codec`` is the wire's and may change with a re-INVITE; ``app_codec`` is the voice session's and
stays what it was first. G.711's laws are converted by table on arrival and at departure.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from .codec import Codec, Transcode, transcoder
from .dtmf import Digit, DtmfReceiver, DtmfSender
from .errors import PacketError, RtpError
from .events import (
    Address,
    AudioFrame,
    DigitReceived,
    Direction,
    SourceLatched,
    SsrcChanged,
    StreamConfig,
    StreamEvent,
    StreamStatistics,
)
from .inband import InbandDigits
from .packet import RtpPacket, is_rtcp, parse_rtcp, parse_rtp
from .playout import Playout
from .reorder import DEFAULT_MAX_WAIT_MS
from .rtcp import RtcpSession
from .sender import RtpSender
from .source import SourceLock, Verdict
from .srtp import SrtpContext, renewed
from .statistics import ReceiveStatistics
from .tones import tones_of
from .uplink import Uplink

MAX_PAYLOAD = 2400  # bytes, 300 ms of G.711; no trunk sends more in one packet
COMFORT_NOISE_PT = 13  # RFC 3389


class RtpStream:
    """The media leg of one call. ``configure`` it, then feed it datagrams, ticks and timers."""

    def __init__(
        self,
        ssrc: int | None = None,
        *,
        cname: str = "",
        send_silence: bool = True,
        comfort_noise: bool = False,
        max_wait_ms: float = DEFAULT_MAX_WAIT_MS,
        app_codec: Codec | None = None,
        hears_tones: bool = False,
        wallclock_offset_s: float = 0.0,
        sequence_number: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """``comfort_noise``: what is sent as silence is faint noise.

        ``hears_tones``: keys that come as sound are digits (``DigitReceived``) and silence.

        ``ssrc``, ``sequence_number`` and ``timestamp`` are random unless given (RFC 3550 §5.1).
        """
        self.ssrc = secrets.randbits(32) if ssrc is None else ssrc
        self.app_codec: Codec | None = None
        self.dropped: dict[str, int] = {}
        self.last_received: float | None = None
        self._cname = cname or f"{self.ssrc:08x}"
        self._max_wait_ms = max_wait_ms
        self._hears_tones = hears_tones
        self._inband: InbandDigits | None = None
        self._wallclock_offset_s = wallclock_offset_s
        self._config: StreamConfig | None = None
        self._accepted: dict[int, Codec | None] = {}  # what may come, by payload type; None: telephone events
        self._transcoders: dict[str, Transcode] = {}  # by the name of what comes
        self._source = SourceLock()
        self._rtcp_source: Address | None = None
        self._remote_ssrc: int | None = None
        self._srtp: SrtpContext | None = None  # also while plain RTP is in force after SRTP
        self._is_protected = False
        self._sender = RtpSender(
            self.ssrc,
            send_silence=send_silence,
            comfort_noise=comfort_noise,
            sequence_number=sequence_number,
            timestamp=timestamp,
        )
        self._quiet_since: float | None = None  # what the media time-out counts from, besides packets
        if app_codec is not None:
            self._adopt(app_codec)

    def _adopt(self, codec: Codec) -> None:
        """The voice session's codec is known: everything that works in it can exist now."""
        self.app_codec = codec
        self.playout = Playout(codec)
        self.uplink = Uplink(codec, self._max_wait_ms)
        self.statistics = ReceiveStatistics(codec.clock_rate)
        self._digits = DtmfReceiver(codec.clock_rate)
        if self._hears_tones:
            self._inband = InbandDigits(codec)
        self._rtcp = RtcpSession(self.ssrc, self._cname, codec.clock_rate, self._wallclock_offset_s)

    # -- signalling ------------------------------------------------------------------------------------

    def configure(self, config: StreamConfig) -> None:
        """Take the outcome of an offer/answer; may be called again (re-INVITE: hold, codec, address)."""
        before = self._config
        if self.app_codec is None:
            self._adopt(config.codec)
        self._config = config
        self._srtp = renewed(self._srtp, config.srtp)
        self._is_protected = config.srtp is not None
        self._accepted = _accepted(config)
        if before is not None:  # RFC 3264 §8.3.2: the old format is still under way
            self._accepted = _accepted(before) | self._accepted
        self._source.signal(config.remote)
        if before is None or config.remote_rtcp != before.remote_rtcp or config.remote != before.remote:
            self._rtcp_source = None
        self._sender.configure(config, self.playout)
        if before is None or before.direction != config.direction:
            self._quiet_since = None

    @property
    def config(self) -> StreamConfig | None:
        """The last configuration."""
        return self._config

    @property
    def codec(self) -> Codec | None:
        """The codec on the wire."""
        return None if self._config is None else self._config.codec

    @property
    def direction(self) -> Direction:
        """Ours (RFC 3264); inactive before the first configuration."""
        return "inactive" if self._config is None else self._config.direction

    @property
    def destination(self) -> Address | None:
        """Where RTP goes: the latched source, else the signalled address, else nowhere."""
        return self._source.destination

    @property
    def rtcp_destination(self) -> Address | None:
        """Where RTCP goes: its own source if one spoke, else as signalled, else RTP's port plus one."""
        if self._rtcp_source is not None:
            return self._rtcp_source
        config, destination = self._config, self.destination
        if config is None or destination is None:
            return None
        if config.remote_rtcp is None:
            return destination[0], destination[1] + 1
        if config.remote_rtcp == config.remote:
            return destination
        return destination[0], config.remote_rtcp[1]

    @property
    def packets_sent(self) -> int:
        """RTP packets handed out for sending, events and silence included."""
        return self._sender.packets

    @property
    def octets_sent(self) -> int:
        """Their payload bytes."""
        return self._sender.octets

    @property
    def is_rtcp_muxed(self) -> bool:
        """RTCP shares the RTP port (RFC 5761)."""
        config = self._config
        return config is not None and config.remote_rtcp == config.remote

    # -- the way in ------------------------------------------------------------------------------------

    def receive_rtp(self, data: bytes, addr: Address, now: float) -> list[StreamEvent]:
        """One datagram from the RTP port; never raises for anything a peer can send."""
        if is_rtcp(data):
            return self.receive_rtcp(data, addr, now) if self.is_rtcp_muxed else self._drop("rtcp_not_muxed")
        try:
            packet = parse_rtp(self._srtp.unprotect_rtp(data) if self._srtp and self._is_protected else data)
        except PacketError as exc:
            return self._drop(exc.kind)
        config = self._config
        if config is None:
            return self._drop("unconfigured")
        payload_type = packet.payload_type
        codec = self._accepted.get(payload_type)
        is_event = codec is None and payload_type in self._accepted
        if codec is None and not is_event and payload_type != COMFORT_NOISE_PT:
            return self._drop("wrong_payload_type")
        if len(packet.payload) > MAX_PAYLOAD:
            return self._drop("oversized")
        verdict = self._source.judge(addr, packet.ssrc, payload_type, now, is_sound=codec is not None)
        if verdict is Verdict.FOREIGN:
            return self._drop("wrong_source")
        self.last_received = now
        events: list[StreamEvent] = []
        if verdict is Verdict.LATCHED:
            events.append(SourceLatched(addr))
            self._rtcp_source = None
        if config.direction in ("sendonly", "inactive"):
            self._drop("on_hold")
            return events
        if is_event:
            self._receive_event(packet, now, events)
        if packet.ssrc != self._remote_ssrc:
            if codec is None:  # recorded digits come with an SSRC of their own: not a new stream
                if not is_event:
                    self._drop("comfort_noise")
                return events
            self._change_source(packet.ssrc, events)
        self.statistics.add(packet, now)
        payload = b""
        if codec is not None and packet.payload:
            payload = self._transcoder(codec)(packet.payload)
        elif not is_event:
            self._drop("comfort_noise" if codec is None else "empty")
        sound = self.uplink.put(
            packet.sequence_number,
            packet.timestamp,
            payload,
            now,
            marker=bool(packet.marker),
            announces_silence=codec is None,
        )
        events += self._heard(sound)
        return events

    def _heard(self, sound: list[AudioFrame]) -> Sequence[StreamEvent]:
        return sound if self._inband is None else self._inband.hear(sound)

    def _transcoder(self, codec: Codec) -> Transcode:
        found = self._transcoders.get(codec.name)
        if found is None:
            found = self._transcoders[codec.name] = transcoder(codec, self.playout.codec)
        return found

    def _drop(self, kind: str) -> list[StreamEvent]:
        self.dropped[kind] = self.dropped.get(kind, 0) + 1
        return []

    def _change_source(self, ssrc: int, events: list[StreamEvent]) -> None:
        if self._remote_ssrc is not None:
            events.append(SsrcChanged(self._remote_ssrc, ssrc))
            events += self._heard(self.uplink.restart())
            self.statistics.restart()
        self._remote_ssrc = ssrc

    def _receive_event(self, packet: RtpPacket, now: float, events: list[StreamEvent]) -> None:
        try:
            _append_digits(self._digits.receive(packet.payload, packet.timestamp, now), events)
        except PacketError as exc:
            self._drop(exc.kind)

    def receive_rtcp(self, data: bytes, addr: Address, now: float) -> list[StreamEvent]:
        """One datagram with RTCP, from its own port or muxed; believed only from the media's host.

        On a port of its own, only from the first source there, until the media's source moves.
        """
        if self._config is None:
            return self._drop("unconfigured")
        destination = self.destination
        if destination is None or addr[0] != destination[0] or self._rtcp_source not in (None, addr):
            return self._drop("rtcp_wrong_source")
        try:
            packets = parse_rtcp(
                self._srtp.unprotect_rtcp(data) if self._srtp and self._is_protected else data
            )
        except PacketError as exc:
            return self._drop(exc.kind)
        if not self.is_rtcp_muxed:
            self._rtcp_source = addr
        return self._rtcp.receive(packets, now)

    def deadline(self) -> float | None:
        """When ``on_timer`` must be called, if nothing comes before; None: nothing is waited for."""
        if self._config is None:
            return None
        gap, digit = self.uplink.deadline(), self._digits.deadline()
        if gap is None or digit is None:
            return gap if digit is None else digit
        return min(gap, digit)

    def on_timer(self, now: float) -> list[StreamEvent]:
        """Gaps and unfinished digits whose time is over, and silence while nothing comes."""
        events: list[StreamEvent] = []
        if self._config is not None:
            _append_digits(self._digits.expire(now), events)
            events += self._heard(self.uplink.expire(now))
        return events

    def is_timed_out(self, now: float, timeout_s: float) -> bool:
        """No valid packet for ``timeout_s`` although one is due: never on hold (RFC 3264 §8.4)."""
        if self.direction != "sendrecv":
            return False
        if self._quiet_since is None:
            self._quiet_since = now
        return now - max(self._quiet_since, self.last_received or 0.0) >= timeout_s

    # -- the way out -----------------------------------------------------------------------------------

    def send_digits(self, digits: str, *, duration_ms: int = 120, pause_ms: int = 80) -> None:
        """Queue key presses, as tones if the peer takes no events; sound waits meanwhile.

        Raises ValueError for what is no key, RtpError before anything was negotiated.
        """
        if self._config is None:
            raise RtpError("keys cannot be sent before the media are negotiated")
        if self._config.telephone_event_pt is None:
            codec = self.playout.codec
            sound = tones_of(digits, codec.sample_rate, duration_ms=duration_ms, pause_ms=pause_ms)
            self._sender.queue_tones(codec.encode(sound))
            return
        clock_rate = self._config.codec.clock_rate
        self._sender.queue_digits(
            DtmfSender(digits, duration_ms=duration_ms, pause_ms=pause_ms, clock_rate=clock_rate)
        )

    def next_packet(self, now: float) -> bytes | None:
        """The RTP packet of this tick, or None. Call once per 20 ms with the tick's scheduled time."""
        packet = self._sender.next_packet(now)
        if packet is None or self._srtp is None:
            return packet
        protected = self._srtp.protect_rtp(packet)  # plain RTP too: the rollover counter must follow
        return protected if self._is_protected else packet

    def next_rtcp(self, now: float) -> bytes | None:
        """SR or RR with SDES when one is due (about every 5 s), else None."""
        if self._config is None or not self._rtcp.is_due(now):
            return None
        report = self._rtcp.report(
            now,
            rtp_timestamp=self._sender.timestamp,
            packets=self._sender.packets,
            octets=self._sender.octets,
            remote_ssrc=self._remote_ssrc,
            statistics=self.statistics,
        )
        return self._srtp.protect_rtcp(report) if self._srtp and self._is_protected else report

    def bye(self) -> bytes | None:
        """The RTCP BYE compound to send last; None if the stream never had a peer."""
        if self._config is None:
            return None
        farewell = self._rtcp.goodbye()
        return self._srtp.protect_rtcp(farewell) if self._srtp and self._is_protected else farewell

    def snapshot(self) -> StreamStatistics:
        """All figures at once, for reports."""
        adopted = self.app_codec is not None
        return StreamStatistics(
            packets_sent=self._sender.packets,
            octets_sent=self._sender.octets,
            packets_received=self.statistics.received if adopted else 0,
            packets_expected=self.statistics.expected if adopted else 0,
            packets_lost=self.statistics.lost if adopted else 0,
            packets_late=self.uplink.reorder.counters.late if adopted else 0,
            jitter_ms=self.statistics.jitter_ms if adopted else 0.0,
            concealed_frames=self.uplink.concealed_frames if adopted else 0,
            concealed_samples=self.uplink.concealed_samples if adopted else 0,
            dropped=dict(self.dropped),
        )


def _accepted(config: StreamConfig) -> dict[int, Codec | None]:
    """What may come. Some peers send with the numbers of their own SDP: taken too where they mean nothing else."""
    accepted: dict[int, Codec | None] = {}
    for payload_type in (config.rx_payload_type, config.payload_type):
        if payload_type is not None and payload_type != config.rx_telephone_event_pt:
            accepted[payload_type] = config.codec
    for payload_type in (config.rx_telephone_event_pt, config.telephone_event_pt):
        if payload_type is not None:
            accepted.setdefault(payload_type, None)
    return accepted


def _append_digits(digits: list[Digit], events: list[StreamEvent]) -> None:
    events += [DigitReceived(digit.digit, digit.duration_ms) for digit in digits]
