"""Samples as they are: L16 on the wire (RFC 3551 section 4.5.11, network byte order), PCM24 in the application."""

from __future__ import annotations

import numpy as np

from .g711 import Pcm

SAMPLE_BYTES = 2


def encode_l16(pcm: Pcm) -> bytes:
    """Big-endian, as every number on the wire."""
    return pcm.astype(">i2").tobytes()


def decode_l16(payload: bytes) -> Pcm:
    """Half a sample at the end is none."""
    return np.frombuffer(payload, ">i2", len(payload) // SAMPLE_BYTES).astype(np.int16)


def l16_ticks(payload: bytes) -> int:
    """One for each sample."""
    return len(payload) // SAMPLE_BYTES


def encode_pcm(pcm: Pcm) -> bytes:
    """Little-endian, as voice services want it."""
    return pcm.astype("<i2").tobytes()


def decode_pcm(payload: bytes) -> Pcm:
    """Half a sample at the end is none."""
    return np.frombuffer(payload, "<i2", len(payload) // SAMPLE_BYTES).astype(np.int16)
