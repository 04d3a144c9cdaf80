"""SQL of the calls themselves, for ``statements``: created, or joined with the row of its carrier id; changed; ended.

A call of a carrier may be told of twice: by its SIP leg and by somebody over HTTP, in any order, by processes that do
not know of each other. The second finds the row of the first by the carrier's id and becomes its alias
(``sipua.call_aliases``); ``own`` gives every later statement the id of the row. What a SIP leg of ours says comes
before what others say, whichever was written first. ``metadata.instance`` is what tells the row of such a leg.
"""

from __future__ import annotations

from dataclasses import fields

from storage.facts import CallChanged
from storage.words import FINAL_RANK, STATUS_RANK

KEPT_FIRST = ("first_time_to_assistant_seconds",)
CHANGE_COLUMNS = tuple(
    f.name for f in fields(CallChanged) if f.name not in ("call_id", "at", "status", "metadata")
)
_CHANGE_TYPES = {"first_time_to_assistant_seconds": "numeric", "handoff": "boolean"}
_ROWS = "%s::jsonb"
# Nearly always there is no alias at all, and the rows stay as they were sent.
_OWN = """(SELECT CASE WHEN EXISTS (SELECT 1 FROM sipua.call_aliases) THEN (
    SELECT jsonb_agg(CASE WHEN a.id IS NULL THEN each ELSE each || jsonb_build_object('call_id', a.call_id) END
                     ORDER BY nr)
    FROM jsonb_array_elements(sent) WITH ORDINALITY AS e (each, nr)
    LEFT JOIN sipua.call_aliases AS a ON a.id = (each ->> 'call_id')::uuid)
  ELSE sent END FROM (SELECT %s::jsonb AS sent) AS s)"""


def own(sql: str) -> str:
    """The statement with each ``call_id`` of its rows as the id of the call's row."""
    head, found, tail = sql.partition(_ROWS)
    assert found, "one placeholder"
    return head + _OWN + tail


def _rank(column: str) -> str:
    words = " ".join(f"WHEN '{word}' THEN {rank}" for word, rank in STATUS_RANK.items() if rank < FINAL_RANK)
    return f"(CASE {column} {words} ELSE {FINAL_RANK} END)"


def _told(column: str) -> str:
    """Of a row that is joined: what the leg says, else what was there."""
    here, there = f"v.{column}", f"r.{column}"
    return f"{column} = CASE WHEN r.without_leg THEN coalesce({here}, {there}) ELSE coalesce({there}, {here}) END"


_TOLD = (
    "from_e164",
    "to_e164",
    "sip_session_id",
    "provider",
    "trunk",
    "country",
    "project_id",
    "lead_phone",
    "twilio_call_sid",
    "mtn_call_sid",
)
# No two rows of one statement have the same carrier id (``statements``). A carrier id that another call holds must not
# cost the later one: it goes without and says so.
CREATED = f"""
WITH r AS (
  SELECT id, direction, from_e164, to_e164, twilio_call_sid, mtn_call_sid, sip_session_id, provider, trunk,
    coalesce(channel, 'voice') AS channel, locale, country, project_id, lead_phone, status, metadata,
    coalesce(started_at, now()) AS started_at, coalesce(without_leg, false) AS without_leg
  FROM jsonb_to_recordset(%s::jsonb) AS r (
    id uuid, direction text, from_e164 text, to_e164 text, twilio_call_sid text, mtn_call_sid text,
    sip_session_id text, provider text, trunk text, locale text, country text, project_id text, status text,
    started_at timestamptz, metadata jsonb, channel text, lead_phone text, without_leg boolean)
  WHERE NOT EXISTS (SELECT 1 FROM sipua.call_aliases a WHERE a.id = r.id)
), held AS (
  SELECT r.id, v.call_id, v.sid, r.without_leg OR (
      NOT coalesce(v.metadata ? 'instance', false) AND (v.ended_at IS NULL OR r.started_at <= v.ended_at)) AS is_this
  FROM r CROSS JOIN LATERAL (
    SELECT t.id AS call_id, 'twilio' AS sid, t.metadata, t.ended_at FROM public.voice_calls t
    WHERE t.twilio_call_sid = r.twilio_call_sid
    UNION ALL
    SELECT m.id, 'mtn', m.metadata, m.ended_at FROM public.voice_calls m WHERE m.mtn_call_sid = r.mtn_call_sid
  ) AS v WHERE v.call_id <> r.id AND NOT EXISTS (SELECT 1 FROM public.voice_calls c WHERE c.id = r.id)
), one AS (
  SELECT DISTINCT ON (id) id, call_id FROM held WHERE is_this ORDER BY id, sid DESC
), alias AS (
  INSERT INTO sipua.call_aliases (id, call_id) SELECT id, call_id FROM one
), joined AS (
  UPDATE public.voice_calls AS v SET
    {", ".join(map(_told, _TOLD))},
    locale = CASE WHEN r.without_leg THEN v.locale ELSE coalesce(r.locale, v.locale) END,
    status = CASE WHEN v.ended_at IS NULL AND {_rank("v.status")} < {_rank("r.status")} THEN r.status ELSE v.status END,
    started_at = least(v.started_at, r.started_at),
    metadata = CASE WHEN r.without_leg THEN r.metadata || coalesce(v.metadata, '{{}}')
                    ELSE coalesce(v.metadata, '{{}}') || r.metadata END,
    updated_at = now()
  FROM one JOIN r USING (id) WHERE v.id = one.call_id
)
INSERT INTO public.voice_calls (id, direction, from_e164, to_e164, twilio_call_sid, mtn_call_sid, sip_session_id,
  provider, trunk, channel, locale, country, project_id, lead_phone, status, started_at, metadata)
SELECT r.id, r.direction, r.from_e164, r.to_e164,
  CASE WHEN NOT h.twilio THEN r.twilio_call_sid END, CASE WHEN NOT h.mtn THEN r.mtn_call_sid END,
  r.sip_session_id, r.provider, r.trunk, r.channel, coalesce(r.locale, 'en'), r.country, r.project_id,
  r.lead_phone, r.status, r.started_at,
  r.metadata
    || CASE WHEN h.twilio THEN jsonb_build_object('twilio_call_sid_repeated', r.twilio_call_sid) ELSE '{{}}' END
    || CASE WHEN h.mtn THEN jsonb_build_object('mtn_call_sid_repeated', r.mtn_call_sid) ELSE '{{}}' END
FROM r CROSS JOIN LATERAL (
  SELECT coalesce(bool_or(held.sid = 'twilio'), false) AS twilio, coalesce(bool_or(held.sid = 'mtn'), false) AS mtn
  FROM held WHERE held.id = r.id) AS h
WHERE NOT EXISTS (SELECT 1 FROM one WHERE one.id = r.id)
ON CONFLICT (id) DO NOTHING
"""


def _changed() -> str:
    record = ", ".join(f"{name} {_CHANGE_TYPES.get(name, 'text')}" for name in CHANGE_COLUMNS)
    folded = ",\n    ".join(
        f"(array_agg({name} ORDER BY {order}) FILTER (WHERE {name} IS NOT NULL))[1] AS {name}"
        for name in CHANGE_COLUMNS
        for order in ["nr" if name in KEPT_FIRST else "nr DESC"]
    )
    sets = ", ".join(
        f"{name} = coalesce(c.{name}, r.{name})"
        if name in KEPT_FIRST
        else f"{name} = coalesce(r.{name}, c.{name})"
        for name in CHANGE_COLUMNS
    )
    # One row for each id (``statements.fold``); two that are aliases of one call are folded here in the same way.
    return f"""
WITH x AS (
  SELECT * FROM ROWS FROM (jsonb_to_recordset(%s::jsonb) AS (call_id uuid, status text, metadata jsonb, {record}))
    WITH ORDINALITY AS x (call_id, status, metadata, {", ".join(CHANGE_COLUMNS)}, nr)
), r AS (
  SELECT call_id,
    (array_agg(status ORDER BY {_rank("status")} DESC, nr) FILTER (WHERE status IS NOT NULL))[1] AS status,
    {folded},
    CASE WHEN count(*) = 1 THEN (array_agg(metadata))[1] ELSE (
      SELECT coalesce(jsonb_object_agg(m.key, m.value ORDER BY y.nr), '{{}}')
      FROM x AS y CROSS JOIN jsonb_each(y.metadata) AS m WHERE y.call_id = x.call_id) END AS metadata
  FROM x GROUP BY call_id
), done AS (
  UPDATE public.voice_calls AS c SET
    status = CASE WHEN r.status IS NOT NULL AND c.ended_at IS NULL AND {_rank("c.status")} < {_rank("r.status")}
                  THEN r.status ELSE c.status END,
    {sets}, metadata = coalesce(c.metadata, '{{}}') || r.metadata, updated_at = now()
  FROM r WHERE c.id = r.call_id
)
SELECT 1 FROM x JOIN public.voice_calls AS c ON c.id = x.call_id
"""


CHANGED = _changed()
# Its row count is that of the calls found, also of those that had ended before (a batch written again). What others
# said of the end of a call is replaced by its leg's own word, but for a failure.
ENDED = f"""
WITH x AS (
  SELECT call_id, ended_at, duration_seconds, status, outcome, metadata, coalesce(without_leg, false) AS without_leg
  FROM jsonb_to_recordset(%s::jsonb) AS x (
    call_id uuid, ended_at timestamptz, duration_seconds integer, status text, outcome text, metadata jsonb,
    without_leg boolean)
), r AS (
  SELECT DISTINCT ON (call_id) * FROM x ORDER BY call_id, without_leg
), done AS (
UPDATE public.voice_calls AS c SET
  ended_at = r.ended_at, duration_seconds = r.duration_seconds,
  status = CASE WHEN {_rank("c.status")} < {FINAL_RANK} OR (c.metadata ? 'ended_by' AND c.status <> 'failed')
                THEN r.status ELSE c.status END,
  outcome = coalesce(r.outcome, c.outcome),
  metadata = (coalesce(c.metadata, '{{}}') || r.metadata) - CASE WHEN r.without_leg THEN '' ELSE 'ended_by' END,
  updated_at = now()
FROM r WHERE c.id = r.call_id AND CASE
  WHEN r.without_leg THEN c.ended_at IS NULL AND NOT coalesce(c.metadata ? 'instance', false)
  ELSE c.ended_at IS NULL OR coalesce(c.metadata ? 'ended_by', false) END
)
SELECT 1 FROM x JOIN public.voice_calls AS c ON c.id = x.call_id
"""
