"""Tools by which the model controls its own call; what they do is the call's affair (``sipua.tools.context``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from sipua.tools.context import ToolContext
from sipua.tools.registry import Result

CONTROL_TIMEOUT_S = 5.0
TRANSFER_TIMEOUT_S = 60.0  # somebody's telephone rings

Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]


class Nothing(BaseModel):
    pass


class HangUp:
    """The end, by the agent."""

    name = "hang_up"
    description = (
        "Ends the phone call. Use it only when the caller has said goodbye or clearly has nothing more to ask. "
        "Say one short goodbye in the same answer, before calling this: it is heard to its end. "
        "Do not use it to get rid of a difficult caller."
    )
    Arguments = Nothing
    timeout_s = CONTROL_TIMEOUT_S

    async def run(self, arguments: Nothing, context: ToolContext) -> Result:
        context.control.hang_up()
        return {
            "status": "the call ends after your goodbye",
            "next": "if you have not said goodbye, say it now",
        }


class LanguageArguments(BaseModel):
    language: Annotated[str, StringConstraints(strip_whitespace=True, min_length=2, max_length=32)] = Field(
        description="Two-letter code"
    )


class SetLanguage:
    """The caller wants another language. ``offered``: code → English name, for the description."""

    name = "set_language"
    Arguments = LanguageArguments
    timeout_s = CONTROL_TIMEOUT_S

    def __init__(self, offered: Mapping[str, str]) -> None:
        names = ", ".join(f"{code} ({name})" for code, name in offered.items())
        self.description = (
            "Changes the language of the call. Call it at once when the caller asks for another language, "
            f"then answer in it. Languages: {names}."
        )

    async def run(self, arguments: LanguageArguments, context: ToolContext) -> Result:
        return {
            "language": context.control.set_language(arguments.language),
            "next": "go on in this language",
        }


class WrapUpArguments(BaseModel):
    intent: Phrase = Field(description="What the caller wanted, 2 to 6 English words, such as: book a taxi")
    outcome: Literal["resolved", "booked", "callback", "transferred", "unresolved", "declined"] = Field(
        description="resolved: answered; booked: something was ordered; callback: somebody will call; "
        "transferred: to a person; unresolved: could not be helped; declined: the caller changed their mind"
    )
    note: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = Field(
        default="", description="One English sentence for colleagues, without card or account numbers"
    )


class WrapUp:
    """Intent and outcome for the ledger."""

    name = "wrap_up"
    description = (
        "Notes what the caller wanted and what came of it. Call it once near the end of the call, before hang_up "
        "or a transfer; call it again if something changes. Never mention it to the caller."
    )
    Arguments = WrapUpArguments
    timeout_s = CONTROL_TIMEOUT_S

    async def run(self, arguments: WrapUpArguments, context: ToolContext) -> Result:
        context.control.wrap_up(arguments.intent, arguments.outcome, arguments.note)
        return {"status": "noted"}


class ConsentArguments(BaseModel):
    agreed: bool = Field(description="true only for a clear yes")
    words: Phrase = Field(description="What the caller said, in their own words")


class RecordConsent:
    """The caller's answer to the consent question; for calls that ask it."""

    name = "record_consent"
    description = (
        "Notes the caller's answer to the question whether the call may be recorded. Call it as soon as they have "
        "answered, and again if they change their mind. Silence or an unclear answer is no consent: ask once more."
    )
    Arguments = ConsentArguments
    timeout_s = CONTROL_TIMEOUT_S

    async def run(self, arguments: ConsentArguments, context: ToolContext) -> Result:
        return await context.control.record_consent(arguments.agreed, arguments.words)


class TransferArguments(BaseModel):
    department: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)] = Field(
        description="One of the departments"
    )
    reason: Phrase = Field(description="Why, in a few words, for the person who takes over")


class TransferToHuman:
    """To a person; for agents that have departments (name → what it is for)."""

    name = "transfer_to_human"
    Arguments = TransferArguments
    timeout_s = TRANSFER_TIMEOUT_S

    def __init__(self, departments: Mapping[str, str]) -> None:
        names = "; ".join(f"{name}: {what}" if what else name for name, what in departments.items())
        self.description = (
            "Connects the caller with a person. Use it when they ask for one, or when you cannot help. Tell the "
            f"caller first that you are connecting them. Departments: {names}."
        )

    async def run(self, arguments: TransferArguments, context: ToolContext) -> Result:
        return await context.control.transfer(arguments.department, arguments.reason)


def control_tools(languages: Mapping[str, str]) -> tuple[Any, ...]:
    """Those that every call has."""
    return HangUp(), SetLanguage(languages), WrapUp()
