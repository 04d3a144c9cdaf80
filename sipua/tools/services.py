"""Tools for what there is and for ordering it: ``search_services`` and ``book_transport``.

What is ordered goes into the ledger's queue and needs no database at that moment; a search that gets no answer in time
tells the model so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from sipua.ports import Clock
from sipua.tools.context import ToolContext
from sipua.tools.registry import Result
from sipua.tools.schema import ToolError

SEARCH_TIMEOUT_S = 5.0
BOOK_TIMEOUT_S = 5.0
RESULTS_MAX = 5  # a caller keeps three in mind
# Without 0, O, 1 and I, which sound or look alike: 32 characters, 5 bits each.
REFERENCE_CHARS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
REFERENCE_LENGTH = 6
SEATS = {"moto": 1, "car": 6, "bus": 60}

Place = Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=160)]
Category = Literal["transport", "marketplace", "food", "shopping", "services"]


class Catalogue(Protocol):
    """Where services and answers are looked up. ToolError where that takes too long or cannot be."""

    async def search(
        self, query: str, *, category: str | None, location: str, locale: str, limit: int
    ) -> tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]:
        """Services and answers, the best first."""


class Orders(Protocol):
    """Takes what callers order. Never blocks."""

    def ordered(
        self, id: UUID, *, reference: str, kind: str, details: Mapping[str, Any], caller: str | None, call_id: UUID,
        locale: str, at: datetime,
    ) -> None: ...  # fmt: skip


class SearchArguments(BaseModel):
    query: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] = Field(
        description="What is wanted, in a few words of any language"
    )
    category: Category | None = Field(default=None, description="Only where it is clear")
    location: Annotated[str, StringConstraints(strip_whitespace=True, max_length=120)] | None = Field(
        default=None, description="Part of town or place, as the caller says it"
    )


class SearchServices:
    """Services, vendors and answers by words."""

    name = "search_services"
    description = (
        "Finds services and vendors, and answers to common questions. Use it before you recommend anything or say a "
        "price, a phone number or opening hours; never make these up. Tell the caller one or two results, not a list."
    )
    Arguments = SearchArguments
    timeout_s = SEARCH_TIMEOUT_S

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def run(self, arguments: SearchArguments, context: ToolContext) -> Result:
        services, answers = await self._catalogue.search(
            arguments.query,
            category=arguments.category,
            location=arguments.location or "",
            locale=context.locale,
            limit=RESULTS_MAX,
        )
        if not services and not answers:
            return {"results": [], "next": "nothing is known of this: say so, or try other words once"}
        found: dict[str, Any] = {"results": [_shown(row) for row in services]}
        if answers:
            found["answers"] = [{"question": row["question"], "answer": row["answer"]} for row in answers]
        if services and arguments.location and not any(row.get("is_there") for row in services):
            found["note"] = f"nothing is known at {arguments.location}: these are elsewhere, or everywhere"
        return found


class BookArguments(BaseModel):
    vehicle_type: Literal["moto", "car", "bus"]
    pickup_location: Place = Field(description="As exact as the caller can say")
    dropoff_location: Place
    passengers: int = Field(default=1, ge=1, le=60)


class BookTransport:
    """A ride, as a request that people confirm."""

    name = "book_transport"
    description = (
        "Orders a ride. Use it once the caller has named vehicle, pickup and destination and has said yes to your "
        "summary of them. Then read out the reference, character by character."
    )
    Arguments = BookArguments
    timeout_s = BOOK_TIMEOUT_S

    def __init__(self, orders: Orders, clock: Clock) -> None:
        self._orders = orders
        self._clock = clock

    async def run(self, arguments: BookArguments, context: ToolContext) -> Result:
        seats = SEATS[arguments.vehicle_type]
        if arguments.passengers > seats:
            raise ToolError(
                f"a {arguments.vehicle_type} takes {seats} at most: offer a larger vehicle, or order several"
            )
        reference = reference_of(context.id)
        self._orders.ordered(
            context.id,
            reference=reference,
            kind="transport",
            details=arguments.model_dump(),
            caller=context.person,
            call_id=context.call_id,
            locale=context.locale,
            at=self._clock.now().wall,
        )
        told = {
            "reference": reference,
            "say": ", ".join(reference),
            "status": "requested; a person confirms it, no driver is on the way yet",
        }
        return (
            told
            if context.person
            else told | {"note": "the caller's number is withheld: nobody can call back"}
        )


def reference_of(id: UUID) -> str:
    """Short, for the telephone; the same for the same request."""
    number = int.from_bytes(hashlib.sha256(id.bytes).digest()[:8])
    return "".join(REFERENCE_CHARS[(number >> 5 * place) % 32] for place in range(REFERENCE_LENGTH))


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of it, without what is not."""
    columns = ("name", "category", "location", "text", "phone", "hours", "price_note")
    return {column: row[column] for column in columns if row.get(column)}
