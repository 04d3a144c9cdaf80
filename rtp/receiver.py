"""The way in of one media leg: what becomes of each RTP packet, from its bytes to sound and digits.

Version and length → payload type → source lock → statistics → uplink (reorder, conceal) → ``AudioFrame`` in the
application's codec. What is turned away on this way is counted by kind in ``dropped`` and is never an exception. No I/O
and no clock: bytes and ``now`` go in, events come out.
"""

from __future__ import annotations

from collections.abc import Sequence

from .codec import Codec
from .comfort_noise import noise_of, rms_of
from .dtmf import Digit, DtmfReceiver
from .errors import CodecError, PacketError
from .events import (
    Address,
    AudioFrame,
    DigitReceived,
    SourceLatched,
    SsrcChanged,
    StreamConfig,
    StreamEvent,
)
from .inband import InbandDigits
from .liveness import Liveness
from .packet import RtpPacket, parse_rtp
from .source import PROOF_SEQUENCE, Candidate, SourceLock, Verdict, continues
from .statistics import ReceiveStatistics
from .timeline import Timeline
from .uplink import Uplink

MAX_PAYLOAD = 2400  # bytes, 300 ms of G.711; no trunk sends more in one packet
COMFORT_NOISE_PT = 13  # RFC 3389


class RtpReceiver:
    """What comes from the source of one stream; everything here works in the application's codec."""

    __slots__ = (
        "_accepted",
        "_codec",
        "_digits",
        "_hears_noise",
        "_inband",
        "_is_held",
        "_successor",
        "_timeline",
        "dropped",
        "liveness",
        "remote_ssrc",
        "source",
        "statistics",
        "uplink",
    )

    def __init__(
        self,
        codec: Codec,
        source: SourceLock,
        dropped: dict[str, int],
        *,
        max_wait_ms: float,
        hears_tones: bool,
        hears_noise: bool,
    ) -> None:
        """``dropped`` is counted in; ``hears_tones``: keys that come as sound are digits and silence.

        ``hears_noise``: a pause of the peer's sounds as its comfort noise says, else it is silence.
        """
        self.dropped = dropped
        self.source = source
        self.statistics = ReceiveStatistics(codec.clock_rate)
        self.uplink = Uplink(codec, max_wait_ms, dropped)
        self.liveness = Liveness()
        self.remote_ssrc: int | None = None  # of the sound
        self._codec = codec
        self._accepted: dict[int, Codec | None] = {}  # what may come, by payload type; None: telephone events
        self._timeline: Timeline | None = None  # of a wire whose clock is not the application's
        self._digits = DtmfReceiver()
        self._inband = InbandDigits(codec) if hears_tones else None
        self._hears_noise = hears_noise
        self._is_held = False
        self._successor: Candidate | None = None  # sound of another SSRC, of which there may be more

    def configure(self, config: StreamConfig, before: StreamConfig | None) -> None:
        """What may come from now on, and from where."""
        self._accepted = _accepted(config)
        if before is not None:  # RFC 3264 §8.3.2: the old format is still under way
            self._accepted = _accepted(before) | self._accepted
        self._is_held = config.direction in ("sendonly", "inactive")
        clock_rate = config.codec.clock_rate
        if before is None or before.codec.clock_rate != clock_rate:
            self.statistics.change_clock(clock_rate)
            self._timeline = None
        self.source.signal(config.remote, config.remote_rtcp)

    def receive(self, data: bytes, addr: Address, now: float) -> list[StreamEvent]:
        """One RTP packet; never raises for anything a peer can send."""
        try:
            packet = parse_rtp(data)
        except PacketError as exc:
            return self._drop(exc.kind)
        payload_type = packet.payload_type
        codec = self._accepted.get(payload_type)
        if codec is None and payload_type not in self._accepted and payload_type != COMFORT_NOISE_PT:
            return self._drop("wrong_payload_type")
        if len(packet.payload) > MAX_PAYLOAD:
            return self._drop("oversized")
        verdict = self.source.judge(addr, packet, now, is_sound=codec is not None)
        if verdict is Verdict.KNOWN:
            return self._take(packet, codec, now)
        if verdict is Verdict.FOREIGN:
            return self._drop("wrong_source")
        if verdict is Verdict.UNPROVEN:
            return []
        return self._latched(addr, packet.ssrc if codec is not None else None) + self._take(
            packet, codec, now
        )

    def _latched(self, addr: Address, ssrc: int | None) -> list[StreamEvent]:
        """``ssrc`` of its sound: who moved has proven himself, and need not do so again."""
        if self.source.turned_away:
            self._drop("wrong_source", self.source.turned_away)
        events: list[StreamEvent] = [SourceLatched(addr)]
        if ssrc not in (None, self.remote_ssrc):
            self._change_source(ssrc, events)
        first = self.source.first
        if first is not None:
            events += self._take(first.packet, self._accepted.get(first.packet.payload_type), first.arrival)
        return events

    def _take(self, packet: RtpPacket, codec: Codec | None, now: float) -> list[StreamEvent]:
        """A packet from the right source; ``codec`` is None for telephone events and comfort noise."""
        is_event = codec is None and packet.payload_type in self._accepted
        self.liveness.rtp, self.liveness.is_quiet = now, codec is None and not is_event
        if self._is_held:
            return self._drop("on_hold")
        events: list[StreamEvent] = []
        if is_event:
            self._receive_event(packet, now, events)
        if packet.ssrc != self.remote_ssrc:
            if codec is None:  # recorded digits come with an SSRC of their own: not a new stream
                if not is_event:
                    self._drop("comfort_noise")
                return events
            if self.remote_ssrc is not None:
                return events + self._succeed(packet, now)
            self._change_source(packet.ssrc, events)
        if self._successor is not None:
            self._successor = None
            self._drop("stray_ssrc")
        self.statistics.add(packet, now)
        payload, timestamp, samples = b"", packet.timestamp, 0
        if codec is not None and packet.payload:
            payload = packet.payload
            try:
                samples = codec.ticks_of(payload)
            except CodecError:
                self._drop("undecodable")  # its place stays empty, as if it had been lost
                return events
            if codec.clock_rate != self._codec.clock_rate:
                timestamp, samples = self._on_our_clock(codec, timestamp, samples)
        elif not is_event:
            self._drop("comfort_noise" if codec is None else "empty")
            if codec is None and self._hears_noise:
                rms = rms_of(packet.payload)
                self.uplink.comfort_noise(noise_of(self._codec, rms) if rms else b"")
        sound = self.uplink.put(
            packet.sequence_number,
            timestamp,
            payload,
            now,
            marker=bool(packet.marker),
            announces_silence=codec is None,
            samples=samples,
            codec=codec,
        )
        events += self._heard(sound)
        return events

    def _on_our_clock(self, codec: Codec, timestamp: int, samples: int) -> tuple[int, int]:
        if self._timeline is None or self._timeline.src_rate != codec.clock_rate:
            self._timeline = Timeline(codec.clock_rate, self._codec.clock_rate)
        return self._timeline.at(timestamp), samples * self._codec.clock_rate // codec.clock_rate

    def _heard(self, sound: list[AudioFrame]) -> Sequence[StreamEvent]:
        return sound if self._inband is None else self._inband.hear(sound)

    def _drop(self, kind: str, packets: int = 1) -> list[StreamEvent]:
        self.dropped[kind] = self.dropped.get(kind, 0) + packets
        return []

    def _change_source(self, ssrc: int, events: list[StreamEvent]) -> None:
        if self.remote_ssrc is not None:
            events.append(SsrcChanged(self.remote_ssrc, ssrc))
            events += self._heard(self.uplink.restart())
            self.statistics.restart()
        self.remote_ssrc = ssrc

    def _succeed(self, packet: RtpPacket, now: float) -> list[StreamEvent]:
        """A new SSRC at the same source is believed by its second packet in a row (RFC 3550 A.1); the first is kept.

        One stray packet, or two streams mixed at one port, would else begin the sound anew each time.
        """
        first, self._successor = self._successor, Candidate(packet, now)
        if first is None or not continues(packet, first.packet, PROOF_SEQUENCE):
            return [] if first is None else self._drop("stray_ssrc")
        self._successor = None
        events: list[StreamEvent] = []
        self._change_source(packet.ssrc, events)
        for each in (first, Candidate(packet, now)):
            events += self._take(each.packet, self._accepted.get(each.packet.payload_type), each.arrival)
        return events

    def _receive_event(self, packet: RtpPacket, now: float, events: list[StreamEvent]) -> None:
        try:
            _append_digits(self._digits.receive(packet.payload, packet.timestamp, now), events)
        except PacketError as exc:
            self._drop(exc.kind)

    def deadline(self) -> float | None:
        """When ``on_timer`` must be called, if nothing comes before; None: nothing is waited for."""
        gap, digit = self.uplink.deadline(), self._digits.deadline()
        if gap is None or digit is None:
            return gap if digit is None else digit
        return min(gap, digit)

    def on_timer(self, now: float) -> list[StreamEvent]:
        """Gaps and unfinished digits whose time is over, and silence while nothing comes."""
        events: list[StreamEvent] = []
        _append_digits(self._digits.expire(now), events)
        events += self._heard(self.uplink.expire(now))
        return events


def _accepted(config: StreamConfig) -> dict[int, Codec | None]:
    """What may come. Some peers send with the numbers of their own SDP: taken too where they mean nothing else."""
    accepted: dict[int, Codec | None] = {}
    for payload_type in (config.rx_payload_type, config.payload_type):
        if payload_type is not None and payload_type != config.rx_telephone_event_pt:
            accepted[payload_type] = config.codec
    for payload_type in (config.rx_telephone_event_pt, config.telephone_event_pt):
        if payload_type is not None:
            accepted.setdefault(payload_type, None)
    for payload_type, codec in config.also:
        accepted.setdefault(payload_type, codec)
    return accepted


def _append_digits(digits: list[Digit], events: list[StreamEvent]) -> None:
    events += [DigitReceived(digit.digit, digit.duration_ms) for digit in digits]
