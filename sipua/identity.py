"""Which process this is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process this is, on its rows, logs and metrics."""

    node: str
    worker: int
    instance: UUID = field(default_factory=uuid4)

    def as_dict(self) -> dict[str, Any]:
        return {"node": self.node, "worker": self.worker, "instance": str(self.instance)}
