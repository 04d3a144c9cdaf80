"""An emulator of the OpenAI Realtime (GA) protocol: the product's offline stand-in for the service.

An independent implementation: it shares no protocol code with the client in :mod:`sipua.realtime` and may
import starlette, uvicorn, webrtcvad, ``rtp`` and :mod:`sipua.errors`, but nothing else of ``sipua``.
"""

from __future__ import annotations

from .calls import Hook
from .faults import FAULTS, Fault, parse_fault
from .server import EmulatorOptions, serve_emulator
from .webhooks import key_of as webhook_key

__all__ = ["FAULTS", "EmulatorOptions", "Fault", "Hook", "parse_fault", "serve_emulator", "webhook_key"]
