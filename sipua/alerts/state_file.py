"""Incidents on disk: what a restart needs in order not to tell twice. Written whole or not at all."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from sipua.alerts.incident import Incident, Phase, Step, Word

log = logging.getLogger(__name__)

VERSION = 1
FILE_NAME = "alerts.json"


def dump(incidents: Iterable[Incident]) -> bytes:
    """As JSON."""
    return json.dumps(
        {"version": VERSION, "incidents": [as_dict(each) for each in incidents]}, indent=1
    ).encode()


def as_dict(incident: Incident) -> dict[str, Any]:
    """What is kept of one."""
    return {
        "id": incident.id,
        "kind": incident.kind,
        "subject": incident.subject,
        "what": incident.what,
        "todo": incident.todo,
        "phase": incident.phase.value,
        "since": incident.since.isoformat(),
        "until": None if incident.until is None else incident.until.isoformat(),
        "steps": [[each.number, each.word.value, each.at.isoformat()] for each in incident.steps],
        "told": incident.told,
    }


def load(file: Path) -> list[Incident]:
    """None where there is no file; one that cannot be read is told and taken for none."""
    try:
        document = json.loads(file.read_bytes())
        if document["version"] != VERSION:
            raise ValueError(f"of version {document['version']}")
        return [_incident(each) for each in document["incidents"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.error("%s cannot be read (%s): what goes on is told anew", file, error)
        return []


def _incident(read: dict[str, Any]) -> Incident:
    until = read["until"]
    return Incident(
        kind=str(read["kind"]),
        subject=str(read["subject"]),
        what=str(read["what"]),
        todo=str(read["todo"]),
        since=datetime.fromisoformat(read["since"]),
        id=str(read["id"]),
        phase=Phase(read["phase"]),
        until=None if until is None else datetime.fromisoformat(until),
        steps=tuple(
            Step(int(number), Word(word), datetime.fromisoformat(at)) for number, word, at in read["steps"]
        ),
        told={str(channel): int(number) for channel, number in read["told"].items()},
    )


def save(file: Path, content: bytes) -> None:
    """Blocks. Raises OSError; the old file is there then."""
    scratch = file.with_suffix(".new")
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    scratch.replace(file)
