-- One call, two ids: who told of it first has the row of voice_calls, whatever the other says is written under that id.
--
-- A carrier's call reaches us by SIP and by HTTP, in any order, through processes that do not know of each other; the
-- carrier's id is what they share. Adds only; may run again. PostgreSQL 15 to 18. Never edit this file once released.

CREATE TABLE IF NOT EXISTS sipua.call_aliases (
  id uuid PRIMARY KEY,
  call_id uuid NOT NULL REFERENCES public.voice_calls (id) ON DELETE CASCADE,
  at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS call_aliases_call_id_idx ON sipua.call_aliases (call_id);

SELECT sipua.secure();
