"""The shapes of the schema found in the wild, written from the documented facts, with rows of every kind in them."""

from __future__ import annotations

from pathlib import Path

SHAPES = ("empty", "hosted", "v1", "v2", "october")
PLATFORM = "20251120100500_voice_infrastructure_complete"


def text(name: str) -> str:
    """``name.sql`` of this folder."""
    return (Path(__file__).parent / f"{name}.sql").read_text("utf-8")


ROLES = text("roles")


def platform(sid: str = "twilio_call_sid") -> str:
    """The migration that the platform still has to push."""
    return text("platform").replace("SID text", f"{sid} text")


def seed(shape: str) -> str:
    """SQL of one of ``SHAPES`` with its rows; ``hosted`` is a hoster's empty database, ``empty`` nobody's."""
    if shape == "empty":
        return ""
    hosted = ROLES + text("hosted")
    if shape == "hosted":
        return hosted
    if shape == "october":
        return hosted + text("october") + text("october_rows")
    sid = "twilio_call_sid" if shape == "v1" else "mtn_call_sid"
    return hosted + platform(sid) + text("v1_rows").replace("SID,", f"{sid},")
