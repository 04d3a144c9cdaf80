"""Ids that are the same in every process and after every restart, so that what is told twice is written once."""

from __future__ import annotations

from uuid import UUID, uuid5

_SPACE = UUID("0a3f5b0e-6d2c-5b8e-9a6e-6f1c3f2b7d41")  # ours; never to be changed


def call_id_of(provider: str, sid: str) -> UUID:
    """The call that a carrier knows by this id."""
    return uuid5(_SPACE, f"{provider}\n{sid}")


def row_id(call: UUID, kind: str, key: str) -> UUID:
    """A row of the call; ``key`` is what its teller knows it by."""
    return uuid5(call, f"{kind}\n{key}")
