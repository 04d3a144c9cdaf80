"""What pjsua2's calls take, made from plain values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pjsua2 as pj

Headers = Sequence[tuple[str, str]]


def header_vector(headers: Iterable[tuple[str, str]]) -> pj.SipHeaderVector:
    """Headers in their order."""
    vector = pj.SipHeaderVector()
    for name, value in headers:
        header = pj.SipHeader()
        header.hName, header.hValue = name, value
        vector.append(header)
    return vector


def operation(code: int = 0, phrase: str = "", headers: Headers = ()) -> pj.CallOpParam:
    """What an answer, an INVITE or a BYE is made with."""
    op = pj.CallOpParam(True)
    op.statusCode = code
    op.reason = phrase
    if headers:
        op.txOption.headers = header_vector(headers)
    return op
