"""How the parts stand that calls need, in one word each. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Feature = Literal["active", "pending", "down", "off"]


@dataclass(frozen=True, slots=True)
class TrunkStanding:
    """``state`` as ``sipua.fleet_view`` has it."""

    name: str
    provider: str
    state: Literal["up", "down", "disabled"]
    why: str


@dataclass(frozen=True, slots=True)
class VoiceStanding:
    """What is known of the voice service without asking it: ``refused_why`` is of the last session that was tried."""

    has_key: bool
    model: str
    opened_at: datetime | None
    refused_at: datetime | None
    refused_why: str

    @property
    def feature(self) -> Feature:
        if not self.has_key:
            return "off"
        return (
            "down"
            if self.refused_at and (self.opened_at is None or self.opened_at < self.refused_at)
            else "active"
        )


def health(
    now: datetime, trunks: Sequence[TrunkStanding], voice: VoiceStanding, database: str, spool: str
) -> tuple[int, dict[str, Any]]:
    """Status and body. ``database``, ``spool``: why they are not ready, "" if they are.

    503 where no call would be served: no trunk, no voice service, or rows that nobody keeps. The rest is degraded.
    """
    features: Mapping[str, Feature] = {
        "twilio_sip": _trunk(trunks, "twilio"),
        "mtn_sip": _trunk(trunks, "mtn"),
        "openai_realtime": voice.feature,
    }
    enabled = [trunk for trunk in trunks if trunk.state != "disabled"]
    fails = [
        *(["no trunk is up"] if enabled and all(trunk.state == "down" for trunk in enabled) else []),
        *(["the voice service is down"] if voice.feature != "active" else []),
        *(["neither database nor spool takes rows"] if database and spool else []),
    ]
    is_degraded = bool(database or spool) or any(trunk.state == "down" for trunk in enabled)
    body = {
        "status": "unhealthy" if fails else "degraded" if is_degraded else "healthy",
        "service": "sipua",
        "timestamp": now.isoformat(timespec="milliseconds"),
        "features": dict(features),
        "why": fails,
        "details": {
            "trunks": [
                {"trunk": each.name, "provider": each.provider, "state": each.state, "why": each.why}
                for each in trunks
            ],
            "openai": {
                "key": voice.has_key,
                "model": voice.model,
                "last_opened_at": _time(voice.opened_at),
                "last_refused_at": _time(voice.refused_at),
                "last_refused_why": voice.refused_why or None,
            },
            "database": database or "ok",
            "spool": spool or "ok",
        },
    }
    return (503 if fails else 200), body


def _trunk(trunks: Sequence[TrunkStanding], provider: str) -> Feature:
    """Pending: a file is there, and not enabled yet."""
    states = {trunk.state for trunk in trunks if trunk.provider == provider}
    return "active" if "up" in states else "down" if "down" in states else "pending" if states else "off"


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds")
