"""One call, everything about it, and the order in which it happened.

Each part is bounded (``PARTS``): of more rows the latest are given, and ``cut`` names the part. Texts and JSON that are
long are cut too, in the database: a story is some megabytes at worst, and 100 kB as a rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from storage.call_timeline import timeline
from storage.clean import KEY_LIMIT
from storage.columns import TABLES
from storage.reading import Connection, ReadPool, Row, fetched

TEXT = 4000  # characters of one text
ALL_SAID = 20_000  # of voice_calls.transcript
JSON = 16_384  # bytes of one JSON value; a longer one is {"cut": its beginning}


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one table: what is read, in which order, and how many at most."""

    table: str
    columns: str
    order: str
    most: int


def _json(column: str) -> str:
    return (
        f"CASE WHEN pg_column_size({column}) > {JSON} THEN jsonb_build_object('cut', left({column}::text, {TEXT})) "
        f"ELSE {column} END AS {column}"
    )


PARTS: Mapping[str, Part] = {
    "sessions": Part(
        "public.openai_sessions",
        f"id, session_id, model, voice, left(instructions, {TEXT}) AS instructions, modalities, input_audio_format, "
        f"output_audio_format, {_json('turn_detection')}, {_json('tools')}, temperature, max_response_output_tokens, "
        f"started_at, ended_at, status, {_json('metadata')}",
        "started_at, id",
        50,
    ),
    "transcripts": Part(
        "public.transcripts",
        f"id, sequence, role, left(content, {TEXT}) AS content, confidence, lang, t",
        "t, sequence, id",
        1000,
    ),
    "events": Part("public.voice_events", f"id, type, {_json('payload')}, t", "t, created_at, id", 2000),
    "tools": Part(
        "public.mcp_tool_calls",
        f"id, server, tool, {_json('args')}, {_json('result')}, success, left(error, {TEXT}) AS error, t",
        "t, id",
        200,
    ),
    "consents": Part("public.call_consents", "id, consent_text, consent_result, audio_url, t", "t, id", 50),
    "wa_threads": Part(
        "public.wa_threads", "id, wa_conversation_id, customer_msisdn, state, last_message_at, created_at",
        "created_at, id", 20,
    ),
    "attempts": Part(
        "sipua.call_attempts", "id, ordinal, trunk, target, code, reason, ms, decision, started_at", "ordinal", 100
    ),
}  # fmt: skip


def _part_query(part: Part) -> str:
    """The latest rows; one more than may be, to know."""
    backwards = ", ".join(f"{column} DESC" for column in part.order.split(", "))
    return f"SELECT {part.columns} FROM {part.table} WHERE call_id = %(id)s ORDER BY {backwards} LIMIT {part.most + 1}"


_QUERIES = {name: _part_query(part) for name, part in PARTS.items()}
_OWN = ", ".join(
    {"transcript": f"left(transcript, {ALL_SAID}) AS transcript", "metadata": _json("metadata")}.get(
        column, column
    )
    for column in TABLES["public.voice_calls"]
)
_CALL = f"SELECT {_OWN} FROM public.voice_calls WHERE id = %(id)s"
# Several calls may share a SIP Call-ID (a carrier's, of two legs): the latest is meant.
_FIND = """
SELECT id FROM public.voice_calls
WHERE id = %(id)s OR id = (SELECT call_id FROM sipua.call_aliases WHERE id = %(id)s)
  OR twilio_call_sid = %(key)s OR mtn_call_sid = %(key)s OR sip_session_id = %(key)s
  OR openai_call_id = %(key)s
ORDER BY (id = %(id)s) IS TRUE DESC, started_at DESC NULLS LAST, id LIMIT 1
"""

_SHORT_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,28}")
_BEGINNING = "SELECT id FROM public.voice_calls WHERE id BETWEEN %(first)s AND %(last)s LIMIT 2"


async def find_call(pool: ReadPool, key: str | UUID) -> UUID | None:
    """A call by its id, its carrier's (Twilio's, MTN's), the SIP Call-ID or OpenAI's. StoreError.

    The first 8 or more letters of an id do, if they are of one call alone.
    """
    return await pool.read(lambda connection: _find(connection, key))


async def call_story(pool: ReadPool, key: str | UUID) -> Row | None:
    """Everything about the call of this key (as ``find_call``); None: there is none. StoreError.

    ``call`` is its row; the lists are those of ``PARTS``; ``media`` what was measured of it at its end, ``quality``
    how that and the pauses before answers went meanwhile; ``recordings`` can be fetched; ``timeline`` as
    ``storage.call_timeline``.
    """
    return await pool.read(lambda connection: _story(connection, key))


def _find(connection: Connection, key: str | UUID) -> UUID | None:
    key = str(key)
    if "\0" in key or not 0 < len(key) <= KEY_LIMIT:
        return None
    found = connection.execute(_FIND, {"key": key, "id": _uuid(key)}).fetchone()
    if found is None and _SHORT_ID.fullmatch(key):
        first, last = (UUID((key.replace("-", "") + fill * 32)[:32]) for fill in "0f")
        several = connection.execute(_BEGINNING, {"first": first, "last": last}).fetchall()
        found = several[0] if len(several) == 1 else None
    return None if found is None else UUID(str(found["id"]))


def _story(connection: Connection, key: str | UUID) -> Row | None:
    id = _uuid(key)
    return (_story_of(connection, id) if id is not None else None) or (
        _story_of(connection, found) if (found := _find(connection, key)) is not None else None
    )


def _story_of(connection: Connection, id: UUID) -> Row | None:
    sent = {
        name: connection.execute(query.encode(), {"id": id})
        for name, query in (("call", _CALL), *_QUERIES.items())
    }
    calls = fetched(sent.pop("call"))
    if not calls:
        return None
    call = calls[0]
    story: Row = {"call": call, "cut": []}
    for name, cursor in sent.items():
        found, most = fetched(cursor), PARTS[name].most
        if len(found) > most:
            story["cut"].append(name)
        story[name] = found[most - 1 :: -1]
    metadata: Row = call["metadata"] if isinstance(call["metadata"], dict) else {}
    story["media"] = _object(metadata.get("rtp"))
    story["quality"] = _object(metadata.get("quality"))
    story["recordings"] = [
        {"consent_id": consent["id"], "url": consent["audio_url"], "t": consent["t"]}
        for consent in story["consents"]
        if consent["audio_url"]
    ]
    story["timeline"] = timeline(story)
    return story


def _object(value: Any) -> Row | None:
    return value if isinstance(value, dict) and value else None


def _uuid(key: str | UUID) -> UUID | None:
    try:
        return key if isinstance(key, UUID) else UUID(key)
    except ValueError:
        return None
