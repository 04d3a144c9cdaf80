"""The calls of this process that are up, whoever terminates them: here (``Switchboard``) or OpenAI (``OpenAILine``)."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID


class CallsUp(Protocol):
    """What those who show calls, or end one, need to know of them."""

    @property
    def calls_up(self) -> int: ...

    def call_ids(self) -> frozenset[str]: ...

    def hang_up(self, id: UUID) -> bool:
        """An operator ends a call; False: it is not up here."""
        ...


class AllCalls:
    """``CallsUp`` of several kinds."""

    def __init__(self, *kinds: CallsUp) -> None:
        self._kinds = kinds

    @property
    def calls_up(self) -> int:
        return sum(kind.calls_up for kind in self._kinds)

    def call_ids(self) -> frozenset[str]:
        return frozenset().union(*(kind.call_ids() for kind in self._kinds))

    def hang_up(self, id: UUID) -> bool:
        return any(kind.hang_up(id) for kind in self._kinds)
