"""What a STUN server sees of us (RFC 8489): one Binding request, repeated as section 6.2.1 has it."""

from __future__ import annotations

import asyncio

from aioice import stun

from sipua.errors import LocalError

PORT = 3478
FIRST_WAIT_S = 0.5  # doubled for each repetition
TRIES = 4  # 7.5 s in all; RFC 8489 would go on to 39.5 s


class StunError(LocalError):
    """Nobody answered, or with an error."""

    retryable = True
    reason = "stun"


class _Asking(asyncio.DatagramProtocol):
    """Waits for the answer to one transaction; anything else is dropped."""

    def __init__(self, request: stun.Message) -> None:
        self._request = request
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            message = stun.parse_message(data)
        except ValueError:
            return
        if message.transaction_id != self._request.transaction_id or self.answer.done():
            return
        mapped = message.attributes.get("XOR-MAPPED-ADDRESS") or message.attributes.get("MAPPED-ADDRESS")
        if message.message_class is stun.Class.RESPONSE and mapped:
            self.answer.set_result(str(mapped[0]))
        else:
            self.answer.set_exception(StunError(f"the STUN server answered {message.message_class.name}"))

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(StunError(f"the STUN server cannot be reached: {exc}"))


async def mapped_address(server: tuple[str, int], bind: str, *, first_wait_s: float = FIRST_WAIT_S) -> str:
    """The address that ``server`` sees requests from ``bind`` come from. Raises StunError."""
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    loop = asyncio.get_running_loop()
    try:
        transport, asking = await loop.create_datagram_endpoint(
            lambda: _Asking(request), local_addr=(bind, 0), remote_addr=server
        )
    except OSError as error:
        raise StunError(f"STUN server {server[0]}:{server[1]}: {error.strerror or error}") from None
    try:
        for attempt in range(TRIES):
            transport.sendto(bytes(request))
            try:
                async with asyncio.timeout(first_wait_s * 2**attempt):
                    return await asyncio.shield(asking.answer)
            except TimeoutError:
                continue
        raise StunError(f"STUN server {server[0]}:{server[1]}: no answer to {TRIES} requests")
    finally:
        asking.answer.cancel()
        transport.close()
