"""What a check says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report; ``todo`` is empty when nothing is to be done.

    ``is_configuration``: what fails is wrong in files or environment of ours, so ``serve`` would refuse to start or a
    trunk cannot work, whatever the network does.
    """

    name: str
    status: Status
    detail: str
    todo: str = ""
    is_configuration: bool = False

    def as_dict(self) -> dict[str, str]:
        return {"name": self.name, "status": self.status, "detail": self.detail, "todo": self.todo}


def listed(items: Iterable[str]) -> str:
    """What to do, each once."""
    return "; ".join(dict.fromkeys(each for each in items if each))
