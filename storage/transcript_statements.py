"""SQL of what was said, for ``statements``: the segments, and of a call that has ended the whole text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from storage.facts import CallEnded, Fact, Transcript

WHOLE = "transcript of an ended call"

_SEGMENTS = """
WITH r AS (
  SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r (
    id uuid, call_id uuid, sequence integer, role text, content text, confidence numeric, lang text,
    t timestamptz)
), stored AS (
  INSERT INTO public.transcripts (id, call_id, sequence, role, content, confidence, lang, t)
  SELECT id, call_id, sequence, role, content, confidence, lang, coalesce(t, now()) FROM r
  ON CONFLICT (id) DO NOTHING RETURNING call_id, t
)
UPDATE public.voice_calls AS c SET
  last_transcript_segment_at = greatest(c.last_transcript_segment_at, s.t),
  transcript_status = CASE WHEN c.ended_at IS NULL THEN 'processing' ELSE c.transcript_status END
FROM (SELECT call_id, max(t) AS t FROM stored GROUP BY call_id) AS s WHERE c.id = s.call_id
"""
# After the end, and again for words that came after it.
_WHOLE = """
UPDATE public.voice_calls AS c SET
  transcript = w.transcript, transcript_locale = w.locale, transcript_status = w.status, updated_at = now()
FROM (
  SELECT v.id, coalesce(v.locale, v.transcript_locale) AS locale,
    CASE v.transcript_status WHEN 'failed' THEN 'failed' ELSE 'completed' END AS status,
    (SELECT string_agg(t.role || ': ' || t.content, E'\\n' ORDER BY t.t, t.sequence, t.id)
     FROM public.transcripts AS t WHERE t.call_id = v.id) AS transcript
  FROM jsonb_to_recordset(%s::jsonb) AS r (call_id uuid) JOIN public.voice_calls AS v ON v.id = r.call_id
  WHERE v.ended_at IS NOT NULL
) AS w
WHERE c.id = w.id
  AND (c.transcript, c.transcript_locale, c.transcript_status) IS DISTINCT FROM (w.transcript, w.locale, w.status)
"""

SQL = {Transcript.__name__: _SEGMENTS}
LAST_SQL = {WHOLE: _WHOLE}


def told_of(facts: Iterable[Fact]) -> list[dict[str, Any]]:
    """The calls whose whole text may be another after these."""
    calls: dict[UUID, None] = {
        fact.call_id: None for fact in facts if isinstance(fact, CallEnded | Transcript)
    }
    return [{"call_id": str(call)} for call in calls]
