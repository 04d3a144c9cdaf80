-- Signed webhooks that came, each once by the id that its sender gave it: a delivery that is repeated, to whichever process,
-- is known by it. ``call_id`` is a note (a row of a call may be purged before), ``outcome`` what was made of it.
--
-- Adds only; may run again. PostgreSQL 15 to 18. Never edit this file once released: add another.

CREATE TABLE IF NOT EXISTS sipua.webhooks (
  id text PRIMARY KEY,
  source text NOT NULL,       -- openai
  type text NOT NULL,         -- as the sender names it
  object_id text,             -- what it is about, by the sender's id
  call_id uuid,               -- voice_calls.id
  outcome text,               -- accepted, rejected, ignored, noted; NULL: its process died over it
  received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS webhooks_received_at_idx ON sipua.webhooks (received_at);
SELECT sipua.secure();
