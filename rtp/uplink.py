"""From packets to the listener's sound: in order, without holes, and going on while the sender is silent.

``reorder`` decides what is handed on when, ``conceal`` makes up what was lost, ``silence`` keeps the clock going.
Payload of another codec is converted here, as its decoder may have a state and wants it in order. No I/O and no clock:
``now`` is an argument in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from .codec import Codec, Transcode, transcoder
from .conceal import HISTORY_MS, Concealer
from .errors import CodecError
from .events import AudioFrame
from .quality import Losses, Quality, quality
from .reorder import Frame, Gap, ReorderBuffer
from .silence import Silence


class Uplink:
    """The receive core of one stream."""

    __slots__ = (
        "_codec",
        "_concealer",
        "_dropped",
        "_following_bytes",
        "_noise",
        "_noise_at",
        "_sample_ticks",
        "_transcoders",
        "concealed_frames",
        "concealed_samples",
        "reorder",
        "silence",
    )

    def __init__(self, codec: Codec, max_wait_ms: float, dropped: dict[str, int] | None = None) -> None:
        """In ``dropped`` is counted what could not be decoded."""
        self.reorder = ReorderBuffer(max_wait_ms, clock_rate=codec.clock_rate)
        self.silence = Silence(codec.clock_rate)
        self.concealed_frames = 0  # packets whose sound was made up
        self.concealed_samples = 0
        self._noise = b""  # that silence consists of
        self._noise_at = 0
        self._dropped = {} if dropped is None else dropped
        self._codec = codec
        self._transcoders: dict[str, Transcode] = {}  # by the name of what comes
        self._sample_ticks = max(1, codec.clock_rate // codec.sample_rate)
        self._concealer = Concealer(codec)
        self._following_bytes = codec.frame_bytes(HISTORY_MS)

    def put(
        self,
        sequence_number: int,
        timestamp: int,
        payload: bytes,
        now: float,
        *,
        marker: bool,
        announces_silence: bool,
        samples: int | None = None,
        codec: Codec | None = None,
    ) -> list[AudioFrame]:
        """One packet; without payload it only fills its place in the sequence (events, comfort noise).

        ``timestamp`` and ``samples`` (one for each byte, if None) are of our codec's clock; ``codec`` is the payload's.
        """
        if codec is not None and codec.name == self._codec.name:
            codec = None
        ordered = self.reorder.put(
            sequence_number, timestamp, payload, now, marker=marker, samples=samples, codec=codec
        )
        if announces_silence:
            self.silence.announced(now)
        return self._sound(ordered) if ordered else []

    def comfort_noise(self, noise: bytes) -> None:
        """What the sender's silence sounds like until it goes on (RFC 3389)."""
        self._noise = noise

    def _quiet(self, samples: int) -> bytes:
        """That much of it, going on where the last piece ended."""
        if not self._noise:
            return b""
        at = self._noise_at % len(self._noise)
        self._noise_at = at + samples
        return self._noise[at:] + self._noise[:at]

    def restart(self) -> list[AudioFrame]:
        """The source changes: all that is held."""
        return self._sound(self.reorder.restart())

    def deadline(self) -> float | None:
        """When ``expire`` must be called, if nothing comes before."""
        gap = self.reorder.deadline()
        return self.silence.deadline() if gap is None else gap  # behind a gap there is sound

    def expire(self, now: float) -> list[AudioFrame]:
        """Gaps that are given up, and silence."""
        sound = self._sound(self.reorder.expire(now))
        samples = self._whole(self.silence.expire(now)) if self.reorder.deadline() is None else 0
        if samples:
            quiet = self._concealer.fill(samples, 0, noise=self._quiet(samples))
            sound.append(AudioFrame(quiet, samples, True, is_pause=True))
        return sound

    def quality(self, network_ms: float) -> Quality | None:
        """Of what was heard so far, if the network takes ``network_ms`` (half the round trip) and a packet to fill.

        None without any packet. Every codec is rated on G.711's narrow-band scale: wideband is no worse and no better.
        """
        counters = self.reorder.counters
        if not counters.get:
            return None
        losses = Losses(counters.get + counters.lost, counters.lost, counters.gaps)
        return quality(
            losses, network_ms + self.reorder.packet_ms + self.reorder.added_delay.quantile_ms(0.5)
        )

    def statistics(self) -> dict[str, float | None]:
        """What the buffer did, as re_jbuf.h counts, and quantiles of the network's delays and of what it added.

        ``delay_ms`` is how much later than the quickest packets came, ``added_ms`` how long they were kept here; None
        before the first.
        """
        counters, network, added = self.reorder.counters, self.reorder.network_delay, self.reorder.added_delay
        return {
            "put": counters.put,
            "get": counters.get,
            "out_of_order": counters.ooo,
            "dup": counters.dup,
            "late": counters.late,
            "lost": counters.lost,
            "overflow": counters.overflow,
            "flush": counters.flush,
        } | {
            f"{name}_p{round(fraction * 100)}": histogram.quantile_ms(fraction) if histogram.count else None
            for name, histogram in (("delay_ms", network), ("added_ms", added))
            for fraction in (0.5, 0.95, 0.99)
        }

    def _sound(self, ordered: Sequence[Frame | Gap]) -> list[AudioFrame]:
        sound: list[AudioFrame] = []
        decoded = self._decoded(ordered)
        for index, each in enumerate(decoded):
            if isinstance(each, Frame):
                if each.samples:
                    self._concealer.heard(each.payload)
                    self.silence.heard(each.samples, each.arrival)
                    self._noise = b""
                    sound.append(AudioFrame(each.payload, each.samples, False))
            elif each.samples and (samples := self._whole(self.silence.rest(each.samples, each.packets))):
                following = self._following(decoded[index + 1 :]) if each.packets else b""
                noise = b"" if each.packets else self._quiet(samples)
                filled = self._concealer.fill(samples, each.packets, following, noise)
                sound.append(AudioFrame(filled, samples, True, is_pause=not each.packets))
                if each.packets:
                    self.concealed_frames += each.packets
                    self.concealed_samples += samples
        return sound

    def _decoded(self, ordered: Sequence[Frame | Gap]) -> Sequence[Frame | Gap]:
        """The same in our codec; what cannot be decoded is a gap."""
        if len(ordered) == 1 and isinstance(ordered[0], Frame) and ordered[0].codec is None:
            return ordered  # the usual case
        decoded: list[Frame | Gap] = []
        for each in ordered:
            if isinstance(each, Frame) and each.codec is not None and each.payload:
                transcode = self._transcoders.get(each.codec.name)
                if transcode is None:
                    transcode = self._transcoders[each.codec.name] = transcoder(each.codec, self._codec)
                try:
                    each.payload = transcode(each.payload)
                    each.samples = len(each.payload)
                except CodecError:
                    self._dropped["undecodable"] = self._dropped.get("undecodable", 0) + 1
                    each = Gap(each.samples, 1)
            decoded.append(each)
        return decoded

    def _whole(self, ticks: int) -> int:
        """A sample of ours may be more than one tick: those of whole samples."""
        return ticks - ticks % self._sample_ticks

    def _following(self, ordered: Sequence[Frame | Gap]) -> bytes:
        """The sound that is already there behind a gap."""
        following = b""
        for each in ordered:
            if isinstance(each, Gap) or len(following) >= self._following_bytes:
                break
            following += each.payload
        return following[: self._following_bytes]
