"""One media leg: every decision about a call's RTP, without I/O and without a clock.

Bytes and ``now`` go in, events and bytes come out; ``transport.MediaTransport`` has the sockets,
``pacer.Pacer`` the clock. A datagram's way in is SRTP if it was negotiated, then ``receiver``; a tick's way out is
``sender``, then SRTP. What is turned away is counted by kind in ``dropped`` and is never an exception.

Two codecs: ``codec`` is the wire's and may change with a re-INVITE; ``app_codec`` is the voice session's and
stays what it was first. G.711's laws are converted by table on arrival and at departure.
"""

from __future__ import annotations

import secrets

from .codec import Codec
from .dtmf import DtmfSender
from .errors import PacketError, RtpError
from .events import Address, Direction, RemoteBye, StreamConfig, StreamEvent, StreamStatistics
from .packet import is_rtcp, parse_rtcp
from .playout import Playout
from .receiver import RtpReceiver
from .reorder import DEFAULT_MAX_WAIT_MS
from .rtcp import RtcpSession
from .sender import RtpSender
from .source import RELATCH_WINDOW_S, Guests, SourceLock
from .srtp import SrtpContext, renewed
from .statistics import ReceiveStatistics
from .tones import tones_of
from .uplink import Uplink


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
        hears_noise: bool = False,
        relatch_window_s: float = RELATCH_WINDOW_S,
        wallclock_offset_s: float = 0.0,
        sequence_number: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """``comfort_noise``: what is sent as silence is faint noise.

        ``hears_tones``: keys that come as sound are digits (``DigitReceived``) and silence. ``hears_noise``: comfort
        noise (RFC 3389) is heard as noise of its level, else as silence.

        ``ssrc``, ``sequence_number`` and ``timestamp`` are random unless given (RFC 3550 §5.1).
        """
        self.ssrc = secrets.randbits(32) if ssrc is None else ssrc
        self.app_codec: Codec | None = None
        self.dropped: dict[str, int] = {}
        self._cname = cname or f"{self.ssrc:08x}"
        self._max_wait_ms = max_wait_ms
        self._hears_tones = hears_tones
        self._hears_noise = hears_noise
        self._relatch_window_s = relatch_window_s
        self._wallclock_offset_s = wallclock_offset_s
        self._config: StreamConfig | None = None
        self._srtp: SrtpContext | None = None  # also while plain RTP is in force after SRTP
        self._is_protected = False
        self._sender = RtpSender(
            self.ssrc,
            send_silence=send_silence,
            comfort_noise=comfort_noise,
            sequence_number=sequence_number,
            timestamp=timestamp,
        )
        if app_codec is not None:
            self._adopt(app_codec)

    def _adopt(self, codec: Codec) -> None:
        """The voice session's codec is known: everything that works in it can exist now."""
        self.app_codec = codec
        self.playout = Playout(codec)
        self._receiver = RtpReceiver(
            codec,
            SourceLock(self._relatch_window_s),
            self.dropped,
            max_wait_ms=self._max_wait_ms,
            hears_tones=self._hears_tones,
            hears_noise=self._hears_noise,
        )
        self._rtcp = RtcpSession(self.ssrc, self._cname, codec.clock_rate, self._wallclock_offset_s)

    # -- signalling ------------------------------------------------------------------------------------

    def configure(self, config: StreamConfig) -> None:
        """Take the outcome of an offer/answer; may be called again (re-INVITE: hold, codec, address)."""
        before = self._config
        if self.app_codec is None:
            self._adopt(config.codec.app_codec)
        self._config = config
        self._srtp = renewed(self._srtp, config.srtp)
        self._is_protected = config.srtp is not None
        self._receiver.configure(config, before)
        self._rtcp.clock_rate = config.codec.clock_rate
        self._sender.configure(config, self.playout)
        if before is None or before.direction != config.direction:
            self._receiver.liveness.restart()

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
        return None if self._config is None else self._receiver.source.destination

    @property
    def rtcp_destination(self) -> Address | None:
        """Where RTCP goes, if anywhere."""
        return None if self._config is None else self._receiver.source.rtcp_destination

    @property
    def guests(self) -> Guests | None:
        """Whose datagrams could be heard now; None: anybody's."""
        return None if self._config is None else self._receiver.source.guests

    @property
    def packets_sent(self) -> int:
        """RTP packets handed out for sending, events and silence included."""
        return self._sender.packets

    @property
    def octets_sent(self) -> int:
        """Their payload bytes."""
        return self._sender.octets

    @property
    def sound_sent(self) -> bytes:
        """What the last tick sent, in ``app_codec``; none: silence, a key's event, or no packet."""
        return self._sender.sound

    @property
    def is_rtcp_muxed(self) -> bool:
        """RTCP shares the RTP port (RFC 5761)."""
        return self._config is not None and self._receiver.source.is_rtcp_muxed

    @property
    def uplink(self) -> Uplink:
        """What is heard, in order; exists with ``app_codec``."""
        return self._receiver.uplink

    @property
    def statistics(self) -> ReceiveStatistics:
        """What the network did to it."""
        return self._receiver.statistics

    @property
    def last_received(self) -> float | None:
        """When the last valid packet came."""
        return None if self.app_codec is None else self._receiver.liveness.rtp

    # -- the way in ------------------------------------------------------------------------------------

    def receive_rtp(self, data: bytes, addr: Address, now: float) -> list[StreamEvent]:
        """One datagram from the RTP port; never raises for anything a peer can send."""
        if is_rtcp(data):
            return self.receive_rtcp(data, addr, now) if self.is_rtcp_muxed else self._drop("rtcp_not_muxed")
        if self._config is None:
            return self._drop("unconfigured")
        if self._srtp is not None and self._is_protected:
            try:
                data = self._srtp.unprotect_rtp(data)
            except PacketError as exc:
                return self._drop(exc.kind)
        return self._receiver.receive(data, addr, now)

    def receive_rtcp(self, data: bytes, addr: Address, now: float) -> list[StreamEvent]:
        """One datagram with RTCP, from its own port or muxed."""
        if self._config is None:
            return self._drop("unconfigured")
        source = self._receiver.source
        if not source.believes_rtcp(addr):
            return self._drop("rtcp_wrong_source")
        try:
            packets = parse_rtcp(
                self._srtp.unprotect_rtcp(data) if self._srtp and self._is_protected else data
            )
        except PacketError as exc:
            return self._drop(exc.kind)
        source.heard_rtcp(addr)
        events = self._rtcp.receive(packets, now)
        self._receiver.liveness.reported = None if RemoteBye() in events else now
        return events

    def _drop(self, kind: str) -> list[StreamEvent]:
        self.dropped[kind] = self.dropped.get(kind, 0) + 1
        return []

    def deadline(self) -> float | None:
        """When ``on_timer`` must be called, if nothing comes before; None: nothing is waited for."""
        return None if self._config is None else self._receiver.deadline()

    def on_timer(self, now: float) -> list[StreamEvent]:
        """What is due by now: gaps, unfinished digits, silence."""
        return [] if self._config is None else self._receiver.on_timer(now)

    def is_timed_out(self, now: float, timeout_s: float) -> bool:
        """No sign of life for so long as ``liveness`` says, although sound is due: never on hold."""
        return self.direction == "sendrecv" and self._receiver.liveness.is_over(now, timeout_s)

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
        ptime_ms = self._config.ptime_ms
        self._sender.queue_digits(
            DtmfSender(digits, duration_ms=duration_ms, pause_ms=pause_ms, ptime_ms=ptime_ms)
        )

    def next_packet(self, now: float) -> bytes | None:
        """The RTP packet of this tick, or None. Call once per ptime with the tick's scheduled time."""
        packet = self._sender.next_packet(now)
        if packet is None or self._srtp is None:
            return packet
        protected = self._srtp.protect_rtp(packet)  # plain RTP too: the rollover counter must follow
        return protected if self._is_protected else packet

    def next_rtcp(self, now: float) -> bytes | None:
        """SR or RR with SDES when one is due (about every 5 s), else None."""
        if self._config is None or not self._rtcp.is_due(now):
            return None
        return self._protected_rtcp(self._report(now))

    def bye(self, now: float) -> bytes | None:
        """The compound to send last, a report and BYE; None if nothing was ever sent (RFC 3550 §6.3.7).

        The report is what tells the far end of the last seconds: loss that its monitors would never hear of.
        """
        if self._config is None or not (self._sender.packets or self._rtcp.sent):
            return None
        return self._protected_rtcp(self._report(now) + self._rtcp.goodbye())

    def _report(self, now: float) -> bytes:
        return self._rtcp.report(
            now,
            rtp_timestamp=self._sender.timestamp,
            packets=self._sender.packets,
            octets=self._sender.octets,
            remote_ssrc=self._receiver.remote_ssrc,
            statistics=self.statistics,
        )

    def _protected_rtcp(self, compound: bytes) -> bytes:
        return self._srtp.protect_rtcp(compound) if self._srtp and self._is_protected else compound

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
