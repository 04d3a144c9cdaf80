"""Who we say we are in an outbound INVITE: From, and the headers of RFC 3323, RFC 3325 and RFC 5806. Pure."""

from __future__ import annotations

from sipua.trunk import Trunk
from sipua.trunk_rules import number_plan_of
from sipua.trunks.numbers import Dialled, received, written

ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'  # RFC 3323 section 4.1.1.3


def from_of(trunk: Trunk, dialled: Dialled, host: str) -> str:
    """What stands in From; nobody's number where the trunk is to keep it from the callee."""
    return ANONYMOUS if trunk.privacy == "id" else f"<sip:{dialled.from_user}@{host}>"


def headers_of(
    trunk: Trunk, dialled: Dialled, host: str, diverted_from: str = ""
) -> tuple[tuple[str, str], ...]:
    """P-Asserted-Identity, Privacy and Diversion, as far as the trunk is to get them.

    ``diverted_from``: the number of ours (E.164) that a call was passed on from; "" if it was not.
    """
    headers: list[tuple[str, str]] = []
    if trunk.pai == "send":
        headers.append(("P-Asserted-Identity", f"<sip:{dialled.from_e164}@{host}>"))
        if trunk.privacy == "id":
            headers.append(("Privacy", "id"))
    number = received(number_plan_of(trunk), diverted_from) if trunk.diversion == "send" else None
    if number is not None:
        user = written(number, trunk.from_format, trunk.region)
        headers.append(("Diversion", f"<sip:{user}@{host}>;reason=deflection"))
    return tuple(headers)
