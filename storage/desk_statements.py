"""SQL of what tools write (``storage.desk_facts``), for ``statements``.

What is said about one caller's memory in a batch is folded into one row first, in the order in which it was said.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from storage import clean
from storage.desk_facts import (
    CallbackNotified,
    CallbackRequested,
    CallerSeen,
    CustomerReplied,
    Forgotten,
    MessageStatus,
    Remembered,
    ServiceRequested,
    ThreadBegun,
)

# A call whose own row was lost does not cost the order: it stands without a call.
_SERVICE = """
INSERT INTO sipua.service_requests (id, reference, kind, details, caller, call_id, locale, created_at, updated_at)
SELECT id, reference, kind, details, caller,
  (SELECT c.id FROM public.voice_calls c WHERE c.id = r.call_id), locale, at, at
FROM jsonb_to_recordset(%s::jsonb) AS r (
  id uuid, reference text, kind text, details jsonb, caller text, call_id uuid, locale text, at timestamptz)
ON CONFLICT (id) DO NOTHING
"""
_CALLBACK = """
INSERT INTO sipua.callback_requests
  (id, reference, number, name, department, reason, wanted_at, locale, call_id, created_at, updated_at)
SELECT id, reference, number, name, department, reason, wanted_at, locale,
  (SELECT c.id FROM public.voice_calls c WHERE c.id = r.call_id), at, at
FROM jsonb_to_recordset(%s::jsonb) AS r (
  id uuid, reference text, number text, name text, department text, reason text, wanted_at text, locale text,
  call_id uuid, at timestamptz)
ON CONFLICT (id) DO NOTHING
"""
_NOTIFIED = """
UPDATE sipua.callback_requests AS c SET notified_at = coalesce(c.notified_at, r.at), updated_at = now()
FROM jsonb_to_recordset(%s::jsonb) AS r (id uuid, at timestamptz) WHERE c.id = r.id
"""
PREFS_MAX = 40  # of one caller; a model is told of 20
# Not by ON CONFLICT: in an old database msisdn may not be unique (who had several rows stands in prefs of the others).
# Beyond PREFS_MAX only what is there changes or goes.
_MEMORY = f"""
WITH r AS (
  SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r (
    msisdn text, kept boolean, anew boolean, prefs jsonb, country text, at timestamptz)
), gone AS (
  DELETE FROM public.voice_memories AS m USING r
  WHERE NOT r.kept AND r.msisdn IN (m.msisdn, m.prefs ->> 'msisdn_as_written')
), merged AS (
  UPDATE public.voice_memories AS m SET
    prefs = jsonb_strip_nulls(CASE
      WHEN r.anew OR jsonb_typeof(m.prefs) IS DISTINCT FROM 'object' THEN r.prefs
      WHEN (SELECT count(*) FROM jsonb_object_keys(jsonb_strip_nulls(m.prefs || r.prefs)))
        <= greatest({PREFS_MAX}, (SELECT count(*) FROM jsonb_object_keys(m.prefs))) THEN m.prefs || r.prefs
      ELSE m.prefs END),
    country = coalesce(r.country, m.country), last_seen_at = greatest(m.last_seen_at, r.at), updated_at = now()
  FROM r WHERE m.msisdn = r.msisdn AND r.kept
)
INSERT INTO public.voice_memories (msisdn, country, prefs, last_seen_at)
SELECT r.msisdn, r.country, jsonb_strip_nulls(r.prefs), r.at FROM r
WHERE r.kept AND jsonb_strip_nulls(r.prefs) <> '{{}}'
  AND NOT EXISTS (SELECT 1 FROM public.voice_memories m WHERE m.msisdn = r.msisdn)
"""
_SEEN = """
UPDATE public.voice_memories AS m SET
  last_seen_at = greatest(m.last_seen_at, r.at), country = coalesce(r.country, m.country), updated_at = now()
FROM (SELECT DISTINCT ON (msisdn) * FROM jsonb_to_recordset(%s::jsonb) AS r (
  msisdn text, at timestamptz, country text) ORDER BY msisdn, at DESC) AS r
WHERE m.msisdn = r.msisdn
"""
_THREAD = """
WITH r AS (
  SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r (
    id uuid, call_id uuid, msisdn text, message_id text, at timestamptz)
), thread AS (
  INSERT INTO public.wa_threads AS t (id, call_id, customer_msisdn, state, last_message_at)
  SELECT DISTINCT ON (r.id) r.id, (SELECT c.id FROM public.voice_calls c WHERE c.id = r.call_id) AS call_id, r.msisdn,
    'initiated', r.at
  FROM r ORDER BY r.id, r.at DESC
  ON CONFLICT (id) DO UPDATE SET last_message_at = greatest(t.last_message_at, excluded.last_message_at)
)
INSERT INTO sipua.wa_messages (id, msisdn, direction, thread_id, at)
SELECT message_id, msisdn, 'out', id, at FROM r
ON CONFLICT (id) DO NOTHING
"""
# States of a message come in any order, and more than once.
_STATUS = """
WITH r AS (
  SELECT DISTINCT ON (message_id) * FROM jsonb_to_recordset(%s::jsonb) AS r (
    message_id text, status text, at timestamptz, conversation_id text, error text)
  ORDER BY message_id, array_position(ARRAY['failed', 'read', 'delivered', 'sent'], status)
), told AS (
  UPDATE sipua.wa_messages AS m SET status = r.status, error = r.error
  FROM r WHERE m.id = r.message_id AND m.direction = 'out' AND coalesce(array_position(
    ARRAY['sent', 'delivered', 'read', 'failed'], m.status), 0)
    < array_position(ARRAY['sent', 'delivered', 'read', 'failed'], r.status)
  RETURNING m.thread_id, r.status, r.conversation_id, r.at
)
UPDATE public.wa_threads AS t SET
  state = CASE WHEN t.state = 'initiated' AND told.status <> 'failed' THEN 'active' ELSE t.state END,
  wa_conversation_id = coalesce(t.wa_conversation_id, told.conversation_id)
FROM told WHERE t.id = told.thread_id
"""
# What came before is known by its id; the thread is the last one with this number.
_REPLIED = """
WITH r AS (
  SELECT DISTINCT ON (message_id) r.*, (
    SELECT t.id FROM public.wa_threads t WHERE t.customer_msisdn = r.msisdn ORDER BY t.created_at DESC, t.id LIMIT 1
  ) AS thread_id
  FROM jsonb_to_recordset(%s::jsonb) AS r (message_id text, msisdn text, at timestamptz) ORDER BY message_id
), new AS (
  INSERT INTO sipua.wa_messages (id, msisdn, direction, thread_id, at)
  SELECT message_id, msisdn, 'in', thread_id, at FROM r
  ON CONFLICT (id) DO NOTHING RETURNING thread_id, at
)
UPDATE public.wa_threads AS t SET
  state = 'customer_replied', last_message_at = greatest(t.last_message_at, n.at)
FROM (SELECT thread_id, max(at) AS at FROM new GROUP BY thread_id) AS n WHERE t.id = n.thread_id
"""

SQL = {
    ServiceRequested.__name__: _SERVICE,
    CallbackRequested.__name__: _CALLBACK,
    CallbackNotified.__name__: _NOTIFIED,
    Remembered.__name__: _MEMORY,
    CallerSeen.__name__: _SEEN,
    ThreadBegun.__name__: _THREAD,
    MessageStatus.__name__: _STATUS,
    CustomerReplied.__name__: _REPLIED,
}


def fold(facts: Iterable[Remembered | Forgotten]) -> list[dict[str, Any]]:
    """One row per caller: what is kept, and whether what was there before counts."""
    rows: dict[str, dict[str, Any]] = {}
    for fact in facts:
        number = clean.key(fact.msisdn)
        if number is None:
            continue
        if isinstance(fact, Forgotten):
            rows[number] = {"msisdn": number, "kept": False, "anew": True, "prefs": {}}
            continue
        row = rows.get(number)
        if row is not None and not row["kept"] and all(value is None for value in fact.prefs.values()):
            continue
        row = rows.setdefault(number, {"msisdn": number, "kept": True, "anew": False, "prefs": {}})
        row |= {
            "kept": True,
            "prefs": row["prefs"] | clean.tree(fact.prefs),
            "country": clean.text(fact.country) or row.get("country"),
            "at": clean.time(fact.at),
        }
    return list(rows.values())
