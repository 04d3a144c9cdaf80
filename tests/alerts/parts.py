"""A clock that is set by hand, and incidents told to lists."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sipua.alerts.incident import Incidents, Patience, Trouble
from sipua.alerts.message import Sender
from sipua.ports import Moment

START = Moment(1000.0, datetime(2026, 11, 23, 8, tzinfo=UTC))
SENDER = Sender("n1", 0)
PATIENCE = Patience(after_s=30.0, clear_s=60.0)


def trouble(subject: str = "mtn", what: str = "trunk mtn is down") -> Trouble:
    return Trouble(subject, what, "run `sipua trunks`")


def words(incidents: Incidents, channel: str = "log") -> list[str]:
    """What this channel tells now; it has told it then."""
    told = []
    while (found := incidents.next_for(channel)) is not None:
        told.append(found[1].word.value)
        incidents.has_told(channel, *found)
    return told


def look(
    incidents: Incidents, at_s: float, troubles: Sequence[Trouble], patience: Patience = PATIENCE
) -> None:
    incidents.seen("trunk", troubles, patience, START.at(1000.0 + at_s))
