"""Signed webhooks that came: as ``storage.facts``, of which this is a part."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class WebhookCame:
    """``id`` is the sender's, the same for every delivery. The first ``outcome`` that is not None stays.

    ``object_id`` is what it is about; ``call_id`` is our row of that call, if it has one.
    """

    id: str
    source: str
    type: str
    at: datetime
    object_id: str | None = None
    call_id: UUID | None = None
    outcome: str | None = None
