"""An emulator of the OpenAI Realtime (GA) protocol: the product's offline stand-in for the service.

An independent implementation: it shares no protocol code with the client in :mod:`sipua.realtime` and may
import starlette, uvicorn, webrtcvad, ``rtp`` and :mod:`sipua.errors`, but nothing else of ``sipua``.
"""

from __future__ import annotations

from .faults import FAULTS, Fault, parse_fault
from .server import EmulatorOptions, serve_emulator

__all__ = ["FAULTS", "EmulatorOptions", "Fault", "parse_fault", "serve_emulator"]
