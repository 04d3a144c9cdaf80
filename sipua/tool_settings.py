"""The keys of ``[tools]`` and ``[transfer]``. Tools of others have a file each (``sipua.tools.files``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sipua.section import Section


class ToolSettings(Section):
    """What the model can have done."""

    off: str = Field(default="", pattern=r"^[A-Za-z0-9_, -]*$")
    """Tools that no model is offered, by name, with commas between, such as "hang_up, wrap_up"."""

    catalogue: Literal["own", "platform"] = "own"
    """What search_services reads: own = ours; platform = public.service_catalog, vendors and faq_articles."""

    @property
    def names_off(self) -> frozenset[str]:
        return frozenset(name for each in self.off.split(",") if (name := each.strip()))


class TransferSettings(Section):
    """Callers who are handed to a person; to whom says departments.toml."""

    on_refusal: str = Field(default="", pattern=r"^([a-z][a-z0-9_-]{0,31})?$")
    """The department that takes over when the voice service refuses us (quota, key); empty = we hang up."""
    ring_s: float = Field(default=40.0, ge=1.0, le=45.0)
    """So long the person's telephone rings at most, where we dial them ourselves; all trunks together."""
    transcribe_bridged: bool = False
    """Whether the voice service goes on to hear and write down a caller whom we joined with a person; never them."""
    record_bridged: bool = False
    """Whether a recording goes on then: the person is heard on it, and nothing here asks them."""
