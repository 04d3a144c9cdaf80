"""What single values of a trunk file may be: hosts, numbers, users, headers, codes."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")  # RFC 3261 section 25.1
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]{0,252}))(:[0-9]{1,5})?")
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_TEXT = re.compile(r"[^\x00-\x1f\x7f]*")
# What makes the dialog, or is written from keys of its own.
_TAKEN_HEADERS = frozenset(
    {
        "authorization", "call-id", "contact", "content-length", "content-type", "cseq", "from", "max-forwards",
        "min-se", "proxy-authorization", "record-route", "require", "route", "session-expires", "supported", "to",
        "user-agent", "via",
    }
)  # fmt: skip

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


def _is_host(value: str) -> str:
    match = _HOST.fullmatch(value)
    if match is None or not 0 < int((match[3] or ":5060")[1:]) < 65536:
        raise ValueError("allowed: host, host:port or [IPv6]:port, without sip:, port 1 to 65535")
    return value


def _is_number(value: str) -> str:
    if not _NUMBER.fullmatch(value):
        raise ValueError("allowed: E.164 with +, such as +250788123456")
    return value


Host = Annotated[str, AfterValidator(_is_host)]  # a port rules SRV out
HostOrNothing = Annotated[str, AfterValidator(lambda value: value and _is_host(value))]
NumberOrNothing = Annotated[str, AfterValidator(lambda value: value and _is_number(value))]
User = Annotated[str, Field(pattern=r"^[A-Za-z0-9._+~!*'()&=$,;?/-]{0,64}$")]
AuthUser = Annotated[str, Field(pattern=r'^[^\x00-\x20"\\]{0,128}$')]  # an IMPI has an @
Port = Annotated[int, Field(ge=0, le=65535)]
Code = Annotated[int, Field(ge=200, le=699)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Suite = Literal["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"]  # what pylibsrtp runs and Twilio offers


class Part(BaseModel):
    """A trunk or a table in it: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Match(Part):
    """One entry of ``fatal_match``."""

    code: Annotated[int, Field(ge=300, le=699)]
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9.!%*_+`'~-]+$")]


class NumberCredential(Part):
    """One entry of ``per_number_credentials``: E.164 number and where its password is."""

    number: Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$")]
    password_env: str = ""
    password_file: str = ""


def one_line(value: str) -> str:
    if not _TEXT.fullmatch(value):
        raise ValueError("a header is one line")
    return value


def added_headers(value: dict[str, str]) -> dict[str, str]:
    """Headers that a file may add to a request."""
    for name, text in value.items():
        if not _TOKEN.fullmatch(name) or name.lower() in _TAKEN_HEADERS:
            raise ValueError(f"{name!r} may not be set; allowed: header names that are not SIP's own")
        one_line(text)
    return value
