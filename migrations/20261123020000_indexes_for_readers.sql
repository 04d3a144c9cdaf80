-- Indexes for lists of calls: by trunk, by the number that was called, by the last digits of either number. What live calls,
-- pages by time and one call's rows need was there already (measured with 1,000,000 calls: docs/decisions.md).
--
-- Builds what is missing and may run again; it reads the table once per index (a second each for 1,000,000 calls), and
-- calls that are written meanwhile wait. PostgreSQL 15 to 18. Never edit this file once released: add another.

CREATE INDEX IF NOT EXISTS idx_voice_calls_to_e164 ON public.voice_calls (to_e164);
CREATE INDEX IF NOT EXISTS idx_voice_calls_trunk ON public.voice_calls (trunk, started_at DESC);
-- the end of a number is the beginning of the number read backwards; text_pattern_ops: in any collation
CREATE INDEX IF NOT EXISTS idx_voice_calls_from_end ON public.voice_calls (reverse(from_e164) text_pattern_ops);
CREATE INDEX IF NOT EXISTS idx_voice_calls_to_end ON public.voice_calls (reverse(to_e164) text_pattern_ops);
