"""SQL of consents and recordings, for ``statements``: an answer and what it makes of its call are one statement.

The recording's address stands in the row of the answer that allowed it, and in ``voice_calls`` while it is the last
one; ``consent_obtained`` is the last answer.
"""

from __future__ import annotations

from storage.facts import ConsentAnswered, RecordingDeleted, RecordingKept

# Written again it inserts nothing and so changes nothing. The last answer of a batch is the call's.
_ANSWERED = """
WITH r AS (
  SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r (
    id uuid, call_id uuid, at timestamptz, text text, granted boolean, channel text)
), stored AS (
  INSERT INTO public.call_consents (id, call_id, consent_text, consent_result, t)
  SELECT r.id, r.call_id, r.text, r.granted, r.at FROM r
  ON CONFLICT (id) DO NOTHING RETURNING id
)
UPDATE public.voice_calls AS c SET
  consent_obtained = coalesce(s.granted, false), consent_recorded_at = s.at, consent_channel = s.channel,
  updated_at = now()
FROM (SELECT DISTINCT ON (r.call_id) r.* FROM r JOIN stored USING (id) ORDER BY r.call_id, r.at DESC) AS s
WHERE c.id = s.call_id AND (c.consent_recorded_at IS NULL OR c.consent_recorded_at <= s.at)
"""
_KEPT = """
WITH r AS (
  SELECT * FROM jsonb_to_recordset(%s::jsonb) AS r (consent_id uuid, url text)
), kept AS (
  UPDATE public.call_consents AS k SET audio_url = r.url FROM r WHERE k.id = r.consent_id
  RETURNING k.call_id, k.t, r.url
)
UPDATE public.voice_calls AS c SET consent_media_url = k.url, updated_at = now()
FROM (SELECT DISTINCT ON (call_id) * FROM kept ORDER BY call_id, t DESC) AS k WHERE c.id = k.call_id
"""
_DELETED = """
WITH r AS (
  SELECT DISTINCT consent_id FROM jsonb_to_recordset(%s::jsonb) AS r (consent_id uuid)
), gone AS (
  SELECT k.id, k.call_id, k.audio_url FROM public.call_consents AS k JOIN r ON r.consent_id = k.id
), cleared AS (
  UPDATE public.call_consents AS k SET audio_url = NULL FROM gone WHERE k.id = gone.id
)
UPDATE public.voice_calls AS c SET consent_media_url = NULL, updated_at = now()
FROM gone WHERE c.id = gone.call_id AND c.consent_media_url = gone.audio_url
"""

SQL = {
    ConsentAnswered.__name__: _ANSWERED,
    RecordingKept.__name__: _KEPT,
    RecordingDeleted.__name__: _DELETED,
}
