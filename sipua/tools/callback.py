"""``request_callback``: a caller wants to be called back, by a department or by anybody.

The request goes into the ledger's queue, needs no database at that moment, and is told to whom the settings name. Asked
again in the same call with the same words it is the same request: the id is made from them.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol
from uuid import UUID, uuid5

from pydantic import BaseModel, Field, StringConstraints

from sipua.locale import country_of
from sipua.ports import Clock
from sipua.tools.context import ToolContext
from sipua.tools.registry import Result
from sipua.tools.schema import ToolError
from sipua.tools.services import reference_of
from sipua.trunks.numbers import Format, NumberError, NumberPlan, normalise

TIMEOUT_S = 5.0
ANY_REGION = "RW"  # of no account for a number that is written in full

Words = Annotated[str, StringConstraints(strip_whitespace=True, max_length=120)]


@dataclass(frozen=True, slots=True)
class Wish:
    """A caller wants to be called at ``number``; ``when`` in their own words, ``reference`` is read out to them."""

    id: UUID
    reference: str
    number: str
    name: str | None
    department: str | None
    when: str | None
    notes: str | None
    call_id: UUID
    locale: str
    at: datetime


class Callbacks(Protocol):
    """Takes the wishes of callers. Never blocks; one ``id`` is one wish."""

    def callback_requested(self, wish: Wish) -> None: ...


class CallbackArguments(BaseModel):
    department: Annotated[str, StringConstraints(strip_whitespace=True, max_length=64)] | None = Field(
        default=None, description="One of the departments, if it is for one"
    )
    number: Annotated[str, StringConstraints(strip_whitespace=True, max_length=32)] | None = Field(
        default=None, description="Only if it is not the number they are calling from; with its country code"
    )
    name: Words | None = Field(default=None, description="Whom to ask for")
    when: Words | None = Field(default=None, description="When it suits them, in their own words")
    notes: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] | None = Field(
        default=None, description="What it is about, one English sentence, without card or account numbers"
    )


class RequestCallback:
    """``departments`` are those that a request can be for."""

    name = "request_callback"
    Arguments = CallbackArguments
    timeout_s = TIMEOUT_S

    def __init__(self, departments: Collection[str], callbacks: Callbacks, clock: Clock) -> None:
        self._departments = tuple(departments)
        self._callbacks = callbacks
        self._clock = clock
        self.description = (
            "Notes that the caller wants to be called back by a person. Offer it when this line or a department is "
            "closed, when a transfer has failed or when you cannot help. Ask when it suits them and what it is about, "
            "then read the reference out, character by character. Promise no time."
        )
        if departments:
            self.description += f" Departments: {', '.join(departments)}."

    async def run(self, arguments: CallbackArguments, context: ToolContext) -> Result:
        department = self._department_of(arguments.department)
        number = self._number_of(arguments.number, context)
        name, when, notes = arguments.name or None, arguments.when or None, arguments.notes or None
        words = (" ".join((each or "").lower().split()) for each in (name, when, notes))
        same = json.dumps([department, number, *words])
        id = uuid5(context.call_id, same)
        reference = reference_of(id)
        self._callbacks.callback_requested(
            Wish(
                id, reference, number, name, department, when, notes, context.call_id, context.locale,
                self._clock.now().wall,
            )
        )  # fmt: skip
        return {
            "reference": reference,
            "say": ", ".join(reference),
            "number": number,
            "status": "noted; a person will call back, when is not known",
        }

    def _department_of(self, wanted: str | None) -> str | None:
        if not wanted:
            return None
        for each in self._departments:
            if each == wanted.lower():
                return each
        known = ", ".join(self._departments) or "none: leave it out"
        raise ToolError(f"there is no department {wanted!r}; departments: {known}")

    def _number_of(self, wanted: str | None, context: ToolContext) -> str:
        """In E.164; without its country code it is one of the caller's country, or of ours."""
        if not wanted:
            if context.person is None:
                raise ToolError(
                    "the caller's number is withheld: ask which number to call, with its country code"
                )
            return context.person
        region = context.country or country_of(
            context.called if context.person is context.caller else context.caller
        )
        if region is None and not wanted.startswith(("+", "00")):
            raise ToolError(f"{wanted!r}: ask for the number with its country code")
        try:
            return normalise(NumberPlan(region or ANY_REGION), wanted, Format.NATIONAL)
        except NumberError:
            raise ToolError(
                f"{wanted!r} is no telephone number: ask for it again, digit by digit, with its country code"
            ) from None
