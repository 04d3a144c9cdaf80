"""Keys by SIP INFO, as carriers and gateways send them without an Info-Package (RFC 6086 section 2 calls it legacy).

Two bodies are in use: ``application/dtmf-relay`` with lines ``Signal=5`` and ``Duration=160`` (blanks around the signs
come too), and ``application/dtmf`` with the key alone. A signal is a key, or the number of its RFC 4733 event; 16 and
``!`` are the flash hook, which is no key. How long a key was down changes nothing. No I/O and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rtp.dtmf import DIGITS
from sipua.sip_message import SipMessage

RELAY = "application/dtmf-relay"
PLAIN = "application/dtmf"
BODY_MAX = 200  # characters; a key needs thirty
FLASH = frozenset({"16", "!"})
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class InfoReading:
    """What an INFO is answered, and the key in it if there is one."""

    code: int
    digit: str = field(default="", repr=False)
    headers: Headers = ()


MALFORMED = InfoReading(400)
UNSUPPORTED = InfoReading(415, headers=(("Accept", f"{RELAY}, {PLAIN}"),))  # RFC 3261 section 21.4.13
BAD_PACKAGE = InfoReading(469, headers=(("Recv-Info", ""),))  # RFC 6086 section 4.2.2: we want none


def read_info(message: SipMessage) -> InfoReading:
    """An INFO within a dialog. One without a body asks whether the dialog is alive (RFC 2976 section 2.2)."""
    if message.header("info-package") is not None:
        return BAD_PACKAGE
    kind = (message.header("content-type") or "").partition(";")[0].strip().lower()
    body = message.body.strip()
    if not kind and not body:
        return InfoReading(200)
    if kind not in (RELAY, PLAIN):
        return UNSUPPORTED
    if len(body) > BODY_MAX:
        return MALFORMED
    fields = _fields(body)
    signal = fields.get("signal", "") if kind == RELAY else fields.get("signal", body)
    if not fields.get("duration", "0").isdecimal():
        return MALFORMED
    if signal in FLASH:
        return InfoReading(200)
    digit = _digit(signal.upper())
    return InfoReading(200, digit) if digit else MALFORMED


def body_of(digit: str, duration_ms: int) -> str:
    """The body of an INFO of ours, of type ``RELAY``."""
    return f"Signal={digit}\r\nDuration={duration_ms}\r\n"


def _fields(body: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in body.splitlines())
    return {name.strip().lower(): value.strip() for name, sign, value in pairs if sign}


def _digit(signal: str) -> str:
    if len(signal) == 1 and signal in DIGITS:
        return signal
    is_number = len(signal) == 2 and signal.isascii() and signal.isdecimal()
    return DIGITS[int(signal)] if is_number and int(signal) < len(DIGITS) else ""
