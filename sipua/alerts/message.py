"""What is told of an incident: JSON for programs, a mail for people. No I/O.

Texts of others (a registrar's reason, the database's) may be in it: one line, bounded, without long numbers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from uuid import uuid4

from sipua.alerts.incident import Incident, Step, Word

TEXT_MAX = 400
_NUMBER = re.compile(r"\+?\d{7,}")
_SECRET = re.compile(r"\b(?:sk|ek|whsec|rk)[-_][A-Za-z0-9_*.-]{6,}")


def plain(text: str) -> str:
    """One line without numbers of people and keys."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    line = _NUMBER.sub(lambda found: f"…{found[0][-2:]}", _SECRET.sub("…", line))
    return line if len(line) <= TEXT_MAX else f"{line[: TEXT_MAX - 1]}…"


@dataclass(frozen=True, slots=True)
class Sender:
    """Which process tells; ``zone`` is that of the reader."""

    node: str
    worker: int
    zone: tzinfo | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One step of one incident, as a channel tells it."""

    id: str  # of this message: a repetition has the same
    incident: str
    key: str  # what several processes that see the same have in common
    word: Word
    kind: str
    subject: str
    what: str
    todo: str
    since: datetime
    until: datetime | None
    at: datetime
    sender: Sender

    @classmethod
    def of(cls, incident: Incident, step: Step, sender: Sender) -> Message:
        return cls(
            id=f"{incident.id}.{step.number}",
            incident=incident.id,
            key="/".join(filter(None, (sender.node, incident.kind, incident.subject))),
            word=step.word,
            kind=incident.kind,
            subject=incident.subject,
            what=plain(incident.what),
            todo=plain(incident.todo),
            since=incident.since,
            until=incident.until if step.word is Word.RECOVERED else None,
            at=step.at,
            sender=sender,
        )

    @classmethod
    def test(cls, sender: Sender, at: datetime) -> Message:
        what, todo = "this is a test of the alerts", "nothing; whoever reads this is told of alerts"
        id = str(uuid4())
        return cls(id, id, f"{sender.node}/test", Word.TEST, "test", "", what, todo, at, None, at, sender)

    @property
    def headline(self) -> str:
        """One line."""
        head = {Word.RECOVERED: "recovered: ", Word.REMINDER: "still: ", Word.TEST: "", Word.OPENED: ""}[
            self.word
        ]
        return f"{head}{self.what}"

    def body(self) -> bytes:
        """JSON, in the form of Standard Webhooks."""
        data = {
            "id": self.incident,
            "key": self.key,
            "kind": self.kind,
            "subject": self.subject,
            "what": self.what,
            "todo": self.todo,
            "since": self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
            "node": self.sender.node,
            "worker": self.sender.worker,
        }
        document = {"type": f"alert.{self.word}", "timestamp": self.at.isoformat(), "data": data}
        return json.dumps(document, ensure_ascii=False).encode()

    def text(self) -> str:
        """For people."""
        lines = [f"{self.headline}.", "", f"Since: {self._when(self.since)}"]
        if self.until is not None:
            lines.append(f"Until: {self._when(self.until)}")
        lines.append(f"Where: {self.sender.node}, worker {self.sender.worker}")
        if self.word is not Word.RECOVERED:
            lines += [f"To do: {self.todo}"]
        return "\n".join([*lines, "", f"Incident {self.incident} ({self.kind})", ""])

    def _when(self, at: datetime) -> str:
        local = at.astimezone(self.sender.zone)
        utc = "" if local.utcoffset() == UTC.utcoffset(None) else f" ({at.astimezone(UTC):%H:%M:%S} UTC)"
        return f"{local:%Y-%m-%d %H:%M:%S %Z}{utc}"
