"""The few parts of a SIP message (RFC 3261) that pjsua2 hands over only as text. No I/O; imports nothing of ours.

pjsua2 parses and validates the message before we see it; what is left for us is to read header values out of
``SipRxData.wholeMsg`` (carrier call ids, From, To, the SDP body) and the numbers out of their URIs.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

# RFC 3261 section 7.3.3 and 20: the compact forms that an INVITE can carry.
_COMPACT = {
    "i": "call-id", "m": "contact", "f": "from", "t": "to", "v": "via", "c": "content-type", "l": "content-length",
    "s": "subject", "k": "supported", "e": "content-encoding",
}  # fmt: skip
_NAME_ADDR = re.compile(
    r'^(?:"(?:[^"\\]|\\.)*"\s*|[^"<]*)<([^>]*)>'
)  # display-name <URI>, RFC 3261 section 25.1
_URI = re.compile(
    r"(?P<scheme>sips?|tel):(?:(?P<user>[^@>\s]*)@)?(?P<host>\[[^\]]+\]|[^;:>?@\s]*)(?::(?P<port>\d{1,5}))?",
    re.I,
)
_MARK = re.compile(r'\\.|[",<>]')  # what a list of a header's values is told apart by
_PHONE = re.compile(r"\+?[0-9]{5,15}")  # E.164 has at most 15 digits; shorter ones are services, not callers


@dataclass(frozen=True, slots=True)
class SipUri:
    """user (may be empty), host and port (0 if absent) of a sip:, sips: or tel: URI."""

    scheme: str
    user: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SipMessage:
    """``headers`` maps lower-case long names to their values in order of appearance; ``body`` is text."""

    start_line: str
    headers: dict[str, tuple[str, ...]]
    body: str

    def header(self, name: str) -> str | None:
        """First value of ``name`` (any case), or None."""
        values = self.headers.get(name.lower())
        return values[0] if values else None


def parse_message(text: str) -> SipMessage:
    """Splits a message into start line, headers (folding undone) and body; never fails on odd lines."""
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    lines: list[str] = []
    for line in head.split("\n"):
        if line[:1] in (" ", "\t") and lines:
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    headers: dict[str, list[str]] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            key = name.strip().lower()
            headers.setdefault(_COMPACT.get(key, key), []).append(value.strip())
    return SipMessage(lines[0] if lines else "", {k: tuple(v) for k, v in headers.items()}, body)


def parse_uri(value: str) -> SipUri | None:
    """The URI in a From/To/Contact value or a bare URI; None if there is none.

    A display name may hold anything, a false URI too: what stands in the angle brackets counts. A password in the
    user part (RFC 3261 section 19.1.1 advises against it) is left out.
    """
    bracketed = _NAME_ADDR.match(value)
    match = _URI.match((bracketed[1] if bracketed else value).strip())
    if match is None:
        return None
    scheme = match["scheme"].lower()
    if scheme == "tel":
        return SipUri(scheme, match["user"] or match["host"], "", 0)
    return SipUri(scheme, (match["user"] or "").partition(":")[0], match["host"], int(match["port"] or 0))


def is_address(host: str) -> bool:
    """Whether it is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def header_items(values: Sequence[str]) -> list[str]:
    """The items of a header that may be repeated or hold a list (RFC 3261 section 7.3.1)."""
    return [item for value in values for part in _between_commas(value) if (item := part.strip())]


def _between_commas(value: str) -> Iterator[str]:
    """Commas within quotes or angle brackets are none. In one pass: the value is a peer's."""
    begin, is_quoted, is_bracketed = 0, False, False
    for match in _MARK.finditer(value):
        if match[0] == '"' and not is_bracketed:
            is_quoted = not is_quoted
        elif is_quoted:
            continue
        elif match[0] in "<>":
            is_bracketed = match[0] == "<"
        elif match[0] == "," and not is_bracketed:
            yield value[begin : match.start()]
            begin = match.end()
    yield value[begin:]


def phone_number(user: str) -> str | None:
    """The user part as +digits or digits if it looks like a telephone number, else None (RFC 3966 separators off)."""
    digits = re.sub(r"[.\-() ]", "", unquote(user.partition(";")[0]))
    return digits if _PHONE.fullmatch(digits) else None


def mask_number(number: str | None) -> str:
    """For logs: country code and the last four digits stay (``+250*****1234``)."""
    if not number:
        return "-"
    keep = 4 if number.startswith("+") else 0
    if len(number) <= keep + 4:
        return number[:keep] + "*" * max(len(number) - keep, 1)
    return number[:keep] + "*" * (len(number) - keep - 4) + number[-4:]
