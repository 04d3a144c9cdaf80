"""What was asked under which Idempotency-Key, so that asking again does nothing again. No I/O.

The key decides the id of what is made, in every process and after every restart: whoever looks finds it by that. This
table is for what is under way, and for telling another request under the same key from the same one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

SPACE = UUID("5e7e9b1c-0d9f-4b2e-8a41-3f6c2d7b9a10")
KEYS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """``done`` is set when the request that came first is through, whatever came of it."""

    digest: bytes
    done: asyncio.Event


class OtherRequest(Exception):
    """The key was used for something else."""


class Idempotency:
    """One for each kind of request."""

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._asked: OrderedDict[UUID, Asked] = OrderedDict()

    @staticmethod
    def id_of(who: str, key: str) -> UUID:
        """Keys of one do not meet those of another."""
        return uuid5(SPACE, f"{who}\n{key}")

    def begin(self, id: UUID, request: Any) -> Asked | None:
        """None: nobody asked before, or nobody who is remembered. Raises OtherRequest."""
        digest = hashlib.sha256(repr(request).encode()).digest()
        before = self._asked.get(id)
        if before is not None:
            if before.digest != digest:
                raise OtherRequest
            return before
        self._asked[id] = Asked(digest, asyncio.Event())
        if len(self._asked) > self._keys_max:
            self._asked.popitem(last=False)[1].done.set()
        return None

    def end(self, id: UUID, *, forget: bool) -> None:
        """``forget``: nothing was made, and it may be tried again."""
        asked = self._asked.get(id)
        if asked is not None:
            asked.done.set()
            if forget:
                del self._asked[id]
