-- What was measured of the media of each call, one row a call with a media leg, for dashboards and questions.
--
-- A view: the figures stand in voice_calls.metadata.rtp, where anybody may read them; a figure that was not measured, or
-- that somebody else wrote there as no number, is NULL. Adds only; may run again. PostgreSQL 15 to 18. Never edit this
-- file once released: add another.

CREATE OR REPLACE VIEW sipua.call_media WITH (security_invoker = true) AS
SELECT
  c.id AS call_id,
  c.trunk,
  c.direction,
  c.started_at,
  c.metadata ->> 'codec' AS codec,
  -- what we heard
  (jsonb_path_query_first(c.metadata, '$.rtp.quality.mos ? (@ >= 0)'))::numeric AS mos,
  (jsonb_path_query_first(c.metadata, '$.rtp.quality.r ? (@ >= 0)'))::numeric AS r,
  (jsonb_path_query_first(c.metadata, '$.rtp.quality.loss_percent ? (@ >= 0)'))::numeric AS loss_percent,
  (jsonb_path_query_first(c.metadata, '$.rtp.quality.burst_ratio ? (@ >= 0)'))::numeric AS burst_ratio,
  (jsonb_path_query_first(c.metadata, '$.rtp.quality.delay_ms ? (@ >= 0)'))::numeric AS delay_ms,
  (jsonb_path_query_first(c.metadata, '$.rtp.received ? (@ >= 0)'))::numeric AS received,
  (jsonb_path_query_first(c.metadata, '$.rtp.lost ? (@ >= 0)'))::numeric AS lost,
  (jsonb_path_query_first(c.metadata, '$.rtp.late ? (@ >= 0)'))::numeric AS late,
  (jsonb_path_query_first(c.metadata, '$.rtp.jitter_ms ? (@ >= 0)'))::numeric AS jitter_ms,
  (jsonb_path_query_first(c.metadata, '$.rtp.dropped ? (@ >= 0)'))::numeric AS dropped,
  c.metadata #> '{rtp,buffer}' AS buffer,
  -- what the far end reports of us
  (jsonb_path_query_first(c.metadata, '$.rtp.sent ? (@ >= 0)'))::numeric AS sent,
  (jsonb_path_query_first(c.metadata, '$.rtp.far_end.lost ? (@ >= 0)'))::numeric AS far_end_lost,
  (jsonb_path_query_first(c.metadata, '$.rtp.far_end.lost_percent ? (@ >= 0)'))::numeric AS far_end_lost_percent,
  (jsonb_path_query_first(c.metadata, '$.rtp.far_end.jitter_ms ? (@ >= 0)'))::numeric AS far_end_jitter_ms,
  (jsonb_path_query_first(c.metadata, '$.rtp.far_end.rtt_ms ? (@ >= 0)'))::numeric AS rtt_ms
FROM public.voice_calls c
WHERE jsonb_typeof(c.metadata #> '{rtp,sent}') = 'number';

-- As for the tables: nobody but the owner and service_role.
DO $$
DECLARE
  rolname text;
BEGIN
  REVOKE ALL ON sipua.call_media FROM PUBLIC;
  FOREACH rolname IN ARRAY ARRAY['anon', 'authenticated'] LOOP
    IF to_regrole(rolname) IS NOT NULL THEN
      EXECUTE format('REVOKE ALL ON sipua.call_media FROM %I', rolname);
    END IF;
  END LOOP;
  IF to_regrole('service_role') IS NOT NULL THEN
    GRANT SELECT ON sipua.call_media TO service_role;
  END IF;
END
$$;
