"""What tools have to say: orders, call-backs, what callers want remembered, WhatsApp. As ``storage.facts``, of which
these are a part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ServiceRequested:
    """A caller ordered something; ``reference`` is what they were told."""

    id: UUID
    reference: str
    kind: str
    details: Json
    caller: str | None
    call_id: UUID
    locale: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class CallbackRequested:
    """A caller wants to be called at ``number``; ``wanted_at`` in their own words, ``reference`` was read out."""

    id: UUID
    number: str
    call_id: UUID
    at: datetime
    name: str | None = None
    department: str | None = None
    reason: str | None = None
    wanted_at: str | None = None
    locale: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class CallbackNotified:
    """Somebody knows that a caller wants to be called."""

    id: UUID
    at: datetime


@dataclass(frozen=True, slots=True)
class Remembered:
    """Preferences of a caller who agreed to it. They are merged; one that is None is forgotten."""

    msisdn: str
    at: datetime
    prefs: Json = field(default_factory=dict)
    country: str | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Everything that was remembered of a caller goes."""

    msisdn: str


@dataclass(frozen=True, slots=True)
class CallerSeen:
    """Somebody called: noted of those of whom something is remembered, of nobody else."""

    msisdn: str
    at: datetime
    country: str | None = None


@dataclass(frozen=True, slots=True)
class ThreadBegun:
    """A message of ours was accepted by WhatsApp under ``message_id``; ``id`` is that of the thread."""

    id: UUID
    call_id: UUID
    msisdn: str
    message_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class MessageStatus:
    """What became of a message of ours."""

    message_id: str
    status: Literal["sent", "delivered", "read", "failed"]
    at: datetime
    conversation_id: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CustomerReplied:
    """Somebody wrote to us."""

    message_id: str
    msisdn: str
    at: datetime


DeskFact = (
    ServiceRequested
    | CallbackRequested
    | CallbackNotified
    | Remembered
    | Forgotten
    | CallerSeen
    | ThreadBegun
    | MessageStatus
    | CustomerReplied
)
