"""The media leg of one call: its sockets, RTP stream and place at the pacer, configured by what SIP negotiated.

Used by the agent's calls and by the softphone. Audio crosses here as bytes of the call's first codec, whatever a
re-INVITE changes on the wire.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from rtp.codec import CODECS, Codec, codec_by_name
from rtp.errors import RtpError
from rtp.events import (
    AudioFrame,
    DigitReceived,
    Direction,
    RemoteReport,
    SourceLatched,
    StreamConfig,
    StreamEvent,
)
from rtp.pacer import DEFAULT_PTIME_MS, Pacer
from rtp.playout import Playout
from rtp.reorder import DEFAULT_MAX_WAIT_MS
from rtp.source import RELATCH_WINDOW_S
from rtp.stream import RtpStream
from rtp.transport import MediaTransport
from sipua.errors import LocalError
from sipua.media_figures import FarEnd, MediaFigures, PlayoutFigures
from sipua.media_ports import bound_address
from sipua.sip_events import MediaDescription

log = logging.getLogger(__name__)

DIRECTIONS: dict[str, Direction] = {
    "sendrecv": "sendrecv",
    "sendonly": "sendonly",
    "recvonly": "recvonly",
    "inactive": "inactive",
}


class GivesBack(Protocol):
    """Where the sockets came from: it is told the RTP socket's address and port once they are closed."""

    def release(self, bound: tuple[str, int]) -> None: ...


class Tap(Protocol):
    """A recording (``sipua.recorder.Tape``); times are of time.monotonic()."""

    def heard(self, now: float, payload: bytes, *, made_up: bool) -> None: ...
    def sent(self, now: float, payload: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class MediaRules:
    """How the media of every call are heard and sent, whatever its trunk."""

    max_wait_ms: float = DEFAULT_MAX_WAIT_MS  # the longest, for a missing packet
    comfort_noise: bool = False  # while nothing is said the phone hears faint noise, instead of silence
    hears_noise: bool = False  # and we its own
    relatch_window_s: float = RELATCH_WINDOW_S  # see ``rtp.source``


DEFAULT_RULES = MediaRules()


class MediaLeg:
    """Audio in through ``on_audio`` (bytes in order, gaps filled), audio out through ``playout``."""

    def __init__(
        self,
        sockets: tuple[socket.socket, socket.socket],
        ports: GivesBack,
        pacer: Pacer,
        codec: Codec,
        rules: MediaRules = DEFAULT_RULES,
        *,
        hears_tones: bool = False,
    ) -> None:
        """``hears_tones``: keys come as sound."""
        self._pacer = pacer
        self._codec = codec.app_codec
        self._wire_codec = codec.name
        self._port: int = sockets[0].getsockname()[1]
        self._stream = RtpStream(
            app_codec=self._codec,
            max_wait_ms=rules.max_wait_ms,
            hears_tones=hears_tones,
            comfort_noise=rules.comfort_noise,
            hears_noise=rules.hears_noise,
            relatch_window_s=rules.relatch_window_s,
        )
        bound = bound_address(sockets)
        self._transport = MediaTransport(
            self._stream, sockets, self._on_events, release=lambda _: ports.release(bound)
        )
        self._on_audio: Callable[[bytes], None] | None = None
        self._on_first_packet: Callable[[float], None] | None = None
        self._on_digit: Callable[[str], None] | None = None
        self._on_sent: Callable[[bytes, float], None] | None = None
        self._passed_to: Callable[[bytes], None] | None = None
        self._configured: StreamConfig | None = None
        self._has_latched = False
        self._far_end: FarEnd | None = None
        self._frames_before = 0  # sent before ``start``
        self._tap: Tap | None = None
        self.broken: Exception | None = None  # why the call must end: its media cannot be sent or heard

    @property
    def playout(self) -> Playout:
        """What is to be said; its accounts tell what has been sent."""
        return self._stream.playout

    @property
    def codec(self) -> Codec:
        """The codec that ``on_audio`` and ``playout`` speak."""
        return self._codec

    @property
    def wire_codec(self) -> str:
        """The name of what is sent now, or will be."""
        return self._wire_codec if self._configured is None else self._configured.codec.name

    @property
    def srtp_suite(self) -> str:
        """What protects the media now; "" is plain RTP."""
        keys = self._configured.srtp if self._configured is not None else None
        return keys.suite if keys is not None else ""

    def configure(self, media: MediaDescription) -> None:
        """Follows an offer/answer round. A held stream keeps codec and addresses and stops."""
        if media.codec:
            codec = codec_by_name(media.codec)
            self._configured = StreamConfig(
                codec=codec,
                payload_type=media.tx_payload_type,
                telephone_event_pt=_negotiated(media.telephone_event_tx),
                remote=media.remote_rtp,
                remote_rtcp=media.remote_rtcp if media.remote_rtcp[1] else None,
                ptime_ms=codec.packet_ms(media.ptime_ms),
                direction=DIRECTIONS[media.direction],
                rx_payload_type=_negotiated(media.rx_payload_type),
                rx_telephone_event_pt=_negotiated(media.telephone_event_rx),
                srtp=media.srtp,
                also=tuple((number, CODECS[name]) for number, name in media.formats if name in CODECS),
            )
        elif self._configured is not None:
            self._configured = replace(self._configured, direction=DIRECTIONS[media.direction])
        if self._configured is not None:
            self._stream.configure(self._configured)
        if self._on_audio is not None:
            self._pace()

    def _pace(self) -> None:
        ptime_ms = DEFAULT_PTIME_MS if self._configured is None else self._configured.ptime_ms
        self._pacer.add(self, self._pacing_failed, ptime_ms=ptime_ms)

    def start(
        self,
        *,
        on_audio: Callable[[bytes], None],
        on_first_packet: Callable[[float], None] | None = None,
        on_digit: Callable[[str], None] | None = None,
        on_sent: Callable[[bytes, float], None] | None = None,
    ) -> None:
        """Begins to hear and to speak; again, where what is heard goes from now on.

        ``on_first_packet`` gets time.monotonic() of the first frame that is sent from now on; ``on_sent`` each tick's
        sound, "" if it had none, and its milliseconds.
        """
        self._on_audio = on_audio
        self._frames_before = self.playout.counters.frames
        self._on_first_packet = on_first_packet
        self._on_digit = on_digit
        self._on_sent = on_sent
        self._pace()

    def pass_on(self, to: Callable[[bytes], None] | None) -> None:
        """What is heard goes there too, as music on hold does; None: no longer."""
        self._passed_to = to

    @property
    def is_sending(self) -> bool:
        """The far end wants to hear something."""
        return self._stream.direction in ("sendrecv", "sendonly")

    def record(self, tap: Tap | None) -> None:
        """What is heard and what is really sent goes there too, but for music on hold; None: no longer."""
        self._tap = tap

    def tick(self, now: float) -> None:
        """Once per ptime."""
        self._transport.tick(now)
        if self._on_sent is not None:
            ptime_ms = DEFAULT_PTIME_MS if self._configured is None else self._configured.ptime_ms
            self._on_sent(self._stream.sound_sent, ptime_ms)
        if self._tap is not None:
            self._tap.sent(now, self._stream.sound_sent)
        if self._on_first_packet is not None and self.playout.counters.frames > self._frames_before:
            self._on_first_packet(time.monotonic())
            self._on_first_packet = None

    def send_digits(self, digits: str) -> None:
        """Queues key presses: events, or tones if the peer takes none. LocalError if they cannot be sent."""
        try:
            self._stream.send_digits(digits)
        except (RtpError, ValueError) as error:
            raise LocalError(str(error)) from None

    def is_timed_out(self, now: float, timeout_s: float) -> bool:
        """No RTP for ``timeout_s`` although some is due."""
        return self._stream.is_timed_out(now, timeout_s)

    def figures(self) -> MediaFigures:
        """What went over the wire so far; half the round trip, where the peer reports it, counts as delay."""
        self._transport.count_kernel_drops()
        stream, uplink, far_end = self._stream.snapshot(), self._stream.uplink, self._far_end
        rtt_ms = far_end.rtt_ms if far_end is not None else None
        return MediaFigures(
            sent=stream.packets_sent,
            received=stream.packets_received,
            lost=stream.packets_lost,
            late=stream.packets_late,
            jitter_ms=round(stream.jitter_ms, 3) if stream.packets_received else None,
            concealed_frames=stream.concealed_frames,
            dropped=stream.dropped,
            buffer=uplink.statistics(),
            quality=uplink.quality((rtt_ms or 0.0) / 2),
            far_end=far_end,
            playout=PlayoutFigures.of(self.playout.counters, self._codec.frame_bytes(1000)),
        )

    def close(self) -> None:
        """RTCP BYE, sockets closed, ports given back."""
        self._pacer.remove(self)
        self._transport.close()

    def _pacing_failed(self, error: Exception) -> None:
        self.broken = error

    def _on_events(self, events: list[StreamEvent]) -> None:
        if self.broken is not None:
            return
        try:
            for event in events:
                self._deliver(event)
        except Exception as error:  # a bug of ours: the call ends, it does not go on deaf
            log.exception("the receiver of the media on port %d failed, it gets no more", self._port)
            self.broken = error

    def _deliver(self, event: StreamEvent) -> None:
        if isinstance(event, AudioFrame):
            if self._on_audio is not None:
                self._on_audio(event.payload)
            if self._passed_to is not None:
                self._passed_to(event.payload)
            if self._tap is not None and self._stream.direction == "sendrecv":
                self._tap.heard(time.monotonic(), event.payload, made_up=event.concealed)
        elif isinstance(event, DigitReceived):
            if self._on_digit is not None:
                self._on_digit(event.digit)
        elif isinstance(event, SourceLatched):
            if self._has_latched:
                log.info("< RTP on port %d now comes from %s:%d", self._port, *event.addr)
            self._has_latched = True
        elif isinstance(event, RemoteReport):
            self._far_end = FarEnd.of(event, self._stream.packets_sent, self._far_end)


def _negotiated(payload_type: int) -> int | None:
    return payload_type if payload_type >= 0 else None
