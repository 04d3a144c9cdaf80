-- Call-back requests: what was read out to the caller, and since when somebody knows of it.
--
-- Adds only; may run again. PostgreSQL 15 to 18. Never edit this file once released: add another.

ALTER TABLE sipua.callback_requests ADD COLUMN IF NOT EXISTS reference text;
ALTER TABLE sipua.callback_requests ADD COLUMN IF NOT EXISTS notified_at timestamptz;  -- NULL: nobody could be told
CREATE INDEX IF NOT EXISTS callback_requests_reference_idx ON sipua.callback_requests (reference);
CREATE INDEX IF NOT EXISTS callback_requests_new_idx ON sipua.callback_requests (created_at) WHERE status = 'new';
