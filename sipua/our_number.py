"""Who we say we are in an outbound INVITE: From, and the headers of RFC 3323 and RFC 3325. Pure."""

from __future__ import annotations

from sipua.trunk import Trunk
from sipua.trunks.numbers import Dialled

ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'  # RFC 3323 section 4.1.1.3


def from_of(trunk: Trunk, dialled: Dialled, host: str) -> str:
    """What stands in From; nobody's number where the trunk is to keep it from the callee."""
    return ANONYMOUS if trunk.privacy == "id" else f"<sip:{dialled.from_user}@{host}>"


def headers_of(trunk: Trunk, dialled: Dialled, host: str) -> tuple[tuple[str, str], ...]:
    """P-Asserted-Identity and Privacy, as far as the trunk is to get them."""
    if trunk.pai == "off":
        return ()
    asserted = ("P-Asserted-Identity", f"<sip:{dialled.from_e164}@{host}>")
    return (asserted, ("Privacy", "id")) if trunk.privacy == "id" else (asserted,)
