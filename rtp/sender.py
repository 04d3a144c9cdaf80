"""The way out of one media leg: what each tick, one per ptime, puts on the wire.

Digits first (events, or tones where the peer takes none), then the playout queue, then silence or faint noise, so that
the RTP clock runs while nobody speaks. With silence switched off nothing is sent, the timestamp still advances (RFC
3550 §5.1) and the packet after the pause has the marker (RFC 3551 §4.1); while silence is sent there is no pause and no
marker.

Ticks come with their scheduled time. If that shows that many were skipped (a stall of the process), the
timestamp jumps to where it should be: a far-end jitter buffer would take a lagging one for lateness until the
call ends.
"""

from __future__ import annotations

import secrets
from collections import deque

from .codec import Transcode, transcoder
from .comfort_noise import noise_of
from .dtmf import DtmfSender
from .events import StreamConfig
from .packet import build_rtp
from .playout import Playout

SKIP_S = 0.1  # so far behind, the timestamp jumps


class RtpSender:
    """Sequence, timestamp and marker of the local source, and what it sends."""

    __slots__ = (
        "_config",
        "_digits",
        "_due",
        "_frame_bytes",
        "_is_idle_coded",
        "_marker",
        "_next_timestamp",
        "_noise",
        "_noise_at",
        "_playout",
        "_sequence_number",
        "_silence",
        "_ssrc",
        "_tones",
        "_transcode",
        "comfort_noise",
        "octets",
        "packets",
        "send_silence",
        "sound",
        "timestamp",
    )

    def __init__(
        self,
        ssrc: int,
        *,
        send_silence: bool,
        comfort_noise: bool,
        sequence_number: int | None,
        timestamp: int | None,
    ) -> None:
        """Sequence and timestamp begin at random unless given (RFC 3550 §5.1).

        The sequence in its lower half: whoever misses the packets around a wrap at the very beginning would take
        SRTP's rollover counter for 0 for ever (RFC 3711 §3.3.1).
        """
        self.send_silence = send_silence
        self.comfort_noise = comfort_noise
        self.packets = 0
        self.octets = 0  # of payload
        self.sound = b""  # of the last tick's packet, in the playout's codec; none: silence, or a key's event
        self.timestamp = secrets.randbits(32) if timestamp is None else timestamp  # of the last tick
        self._ssrc = ssrc
        self._sequence_number = secrets.randbits(15) if sequence_number is None else sequence_number
        self._marker = True
        self._next_timestamp = self.timestamp
        self._due: float | None = None  # when the next tick is; None: there was none
        self._digits: deque[DtmfSender] = deque()
        self._tones = b""  # in the playout's codec
        self._frame_bytes = 0  # of it, a packet
        self._is_idle_coded = True  # silence is kept as the wire has it
        self._silence = b""
        self._noise = b""
        self._noise_at = 0
        self._config: StreamConfig | None = None
        self._transcode: Transcode | None = None
        self._playout: Playout | None = None

    def configure(self, config: StreamConfig, playout: Playout) -> None:
        """The wire's format from now on; ``next_packet`` is to be called once per ptime."""
        if self._config is None or self._config.codec != config.codec:
            self._transcode = transcoder(playout.codec, config.codec)
        if self._config is None or self._config.direction != config.direction:
            self._marker = True
        self._config = config
        self._playout = playout
        playout.set_ptime(config.ptime_ms)
        self._frame_bytes = playout.codec.frame_bytes(config.ptime_ms)
        if config.telephone_event_pt is None:
            self._digits.clear()
        self._is_idle_coded = config.codec.has_byte_per_tick
        idle = config.codec if self._is_idle_coded else playout.codec
        self._silence = idle.silence * idle.frame_bytes(config.ptime_ms)
        self._noise = noise_of(idle) if self.comfort_noise else b""

    def queue_digits(self, digits: DtmfSender) -> None:
        """Press these keys once those before are done; sound waits meanwhile."""
        self._digits.append(digits)

    def queue_tones(self, sound: bytes) -> None:
        """Key presses as sound in the playout's codec; other sound waits meanwhile."""
        self._tones += sound

    def next_packet(self, now: float) -> bytes | None:
        """The packet of this tick, if there is one."""
        config, playout, transcode = self._config, self._playout, self._transcode
        if config is None or playout is None or transcode is None:
            return None
        timestamp = self._advance(now, config)
        self.sound = b""
        if config.direction not in ("sendrecv", "sendonly"):
            self._marker = True
            return None
        if self._digits and config.telephone_event_pt is not None:
            sender = self._digits[0]
            event = sender.next_packet(timestamp)
            if sender.is_done:
                self._digits.popleft()
            if event is not None:
                return self._build(config.telephone_event_pt, event.marker, event.timestamp, event.payload)
        payload = self._next_tones(playout.codec.silence) or playout.next_frame()
        if payload is not None:
            self.sound = payload
            payload = transcode(payload)
        elif self.send_silence:
            payload = self._next_silence()
            if not self._is_idle_coded:
                payload = transcode(payload)
        else:
            self._marker = True
            return None
        marker, self._marker = self._marker, False
        return self._build(config.payload_type, marker, timestamp, payload)

    def _next_tones(self, silence: bytes) -> bytes:
        frame, self._tones = self._tones[: self._frame_bytes], self._tones[self._frame_bytes :]
        return frame.ljust(self._frame_bytes, silence) if frame else b""

    def _next_silence(self) -> bytes:
        if not self._noise:
            return self._silence
        size, at = len(self._silence), self._noise_at % len(self._noise)
        self._noise_at = at + size
        return (self._noise[at : at + size] + self._noise)[:size]

    def _advance(self, now: float, config: StreamConfig) -> int:
        """The timestamp of this tick."""
        ptime_s = config.ptime_ms / 1000
        due = now if self._due is None else self._due
        missed = round((now - due) / ptime_s) if now - due > SKIP_S - 0.001 else 0
        samples = config.codec.clock_rate * config.ptime_ms // 1000
        self._due = due + (missed + 1) * ptime_s
        self.timestamp = (self._next_timestamp + missed * samples) & 0xFFFFFFFF
        self._next_timestamp = (self.timestamp + samples) & 0xFFFFFFFF
        return self.timestamp

    def _build(self, payload_type: int, marker: bool, timestamp: int, payload: bytes) -> bytes:
        data = build_rtp(payload_type, marker, self._sequence_number, timestamp, self._ssrc, payload)
        self._sequence_number = (self._sequence_number + 1) & 0xFFFF
        self.packets += 1
        self.octets += len(payload)
        return data
