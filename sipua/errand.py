"""What a call of ours is for, and how it is to be held: as asked for by whoever places it."""

from __future__ import annotations

from dataclasses import dataclass

from sipua.instructions import Template, Variable
from sipua.outbound_settings import AskedWay

PURPOSE = Variable("why somebody is called", 1_500, "the person will be told in the conversation")
_ABOUT = """# This call
You have called this person; they have not called you. You are an AI assistant: say so when you begin, and whenever you
are asked. If they do not want to talk, or not to be called again, apologise, say goodbye and hang up.
Why you call: {}"""


@dataclass(frozen=True, slots=True)
class Errand:
    """Of one call. ``instructions`` None, ``language``, ``message`` and ``answering_machine`` "": as for all calls."""

    purpose: str = ""
    instructions: Template | None = None
    language: str = ""
    message: str = ""
    answering_machine: AskedWay = ""
    forced: str = ""  # the rules that were overridden

    def told(self) -> str:
        """For the model, beside its instructions."""
        return _ABOUT.format(PURPOSE.shown(self.purpose))

    def as_dict(self) -> dict[str, str]:
        """For the ledger."""
        known = {"purpose": self.purpose, "forced": self.forced}
        return {key: value for key, value in known.items() if value}
