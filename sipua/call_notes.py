"""What the tools that a model calls say about a call: columns of ``voice_calls``. No I/O.

``wrap_up`` says it best. Until then, and where a caller hangs up before it, the first thing that was done for them is
what they wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TEXT_MAX = 500

# Of the agent's own, about the call and not what it is for.
_HOUSEKEEPING = frozenset(
    ("hang_up", "set_language", "wrap_up", "record_consent", "remember", "forget", "send_whatsapp")
)


def intent_of(tool: str) -> str | None:
    """What somebody wants for whom this tool is called."""
    return None if tool in _HOUSEKEEPING else " ".join(tool.replace("_", " ").split())[:TEXT_MAX] or None


def noted(tool: str, args: Mapping[str, Any] | None) -> dict[str, str]:
    """What its arguments tell colleagues: the reason of a hand-over, a name that may be remembered."""
    given = args or {}
    match tool:
        case "transfer_to_human":
            return _text("last_note", given.get("reason"))
        case "remember" if given.get("agreed") is True and given.get("topic") == "name":
            return _text("lead_name", given.get("value"))
        case _:
            return {}


def _text(column: str, value: object) -> dict[str, str]:
    text = value.strip()[:TEXT_MAX] if isinstance(value, str) else ""
    return {column: text} if text else {}
