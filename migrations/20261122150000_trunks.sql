-- What trunks do: the attempts of outbound calls, the state and history of each trunk and its targets, drills.
--
-- Adds only; may run again. PostgreSQL 15 to 18. Never edit this file once released: add another.

-- One INVITE of an outbound call. ``code`` NULL: no final response came. ``decision`` is what the call did then.
CREATE TABLE IF NOT EXISTS sipua.call_attempts (
  id uuid PRIMARY KEY,
  call_id uuid NOT NULL REFERENCES public.voice_calls (id) ON DELETE CASCADE,
  ordinal integer NOT NULL,
  trunk text NOT NULL,
  target text NOT NULL,
  code integer,
  reason text NOT NULL,
  ms integer NOT NULL,
  decision text NOT NULL,
  started_at timestamptz NOT NULL,
  UNIQUE (call_id, ordinal)
);
CREATE INDEX IF NOT EXISTS call_attempts_started_at_idx ON sipua.call_attempts (started_at DESC);
CREATE INDEX IF NOT EXISTS call_attempts_target_idx ON sipua.call_attempts (trunk, target, started_at DESC);

-- How things stand as each process sees them. ``target`` is an address (192.0.2.1:5060;udp), the name of an account
-- that registers, or '' for the trunk as a whole. ``what`` is probe, breaker, retry_after (``state`` is then for how
-- long, from ``changed_at`` on) or registration. ``changed_at`` NULL: as it was when the process began.
CREATE TABLE IF NOT EXISTS sipua.trunk_states (
  node text NOT NULL,
  worker integer NOT NULL,
  trunk text NOT NULL,
  target text NOT NULL DEFAULT '',
  what text NOT NULL CHECK (what IN ('probe', 'breaker', 'retry_after', 'registration')),
  state text NOT NULL,
  why text,
  changed_at timestamptz,
  seen_at timestamptz NOT NULL,
  latency_ms numeric,
  instance uuid NOT NULL,
  PRIMARY KEY (node, worker, trunk, target, what)
);

-- Their history; the columns mean the same.
CREATE TABLE IF NOT EXISTS sipua.trunk_changes (
  id uuid PRIMARY KEY,
  at timestamptz NOT NULL,
  node text NOT NULL,
  worker integer NOT NULL,
  instance uuid NOT NULL,
  trunk text NOT NULL,
  target text NOT NULL DEFAULT '',
  what text NOT NULL CHECK (what IN ('probe', 'breaker', 'retry_after', 'registration')),
  before text,
  after text NOT NULL,
  why text
);
CREATE INDEX IF NOT EXISTS trunk_changes_at_idx ON sipua.trunk_changes (at DESC);
CREATE INDEX IF NOT EXISTS trunk_changes_target_idx ON sipua.trunk_changes (trunk, target, at DESC);

-- One drill of one run of `sipua drill run`. A time that did not come to pass (never detected, never recovered, no
-- call answered) is NULL. ``details`` holds the timeline.
CREATE TABLE IF NOT EXISTS sipua.drill_runs (
  id uuid PRIMARY KEY,
  run_id uuid NOT NULL,
  drill text NOT NULL,
  held boolean NOT NULL,
  detect_ms numeric,
  attempted integer NOT NULL,
  lost integer NOT NULL,
  extra_pdd_ms numeric,
  attempts_per_call numeric,
  recover_ms numeric,
  mutate text,
  live boolean NOT NULL DEFAULT false,
  version text NOT NULL,
  node text NOT NULL,
  started_at timestamptz NOT NULL,
  ended_at timestamptz NOT NULL,
  details jsonb NOT NULL DEFAULT '{}'::jsonb
);
CREATE INDEX IF NOT EXISTS drill_runs_drill_idx ON sipua.drill_runs (drill, started_at DESC);
CREATE INDEX IF NOT EXISTS drill_runs_started_at_idx ON sipua.drill_runs (started_at DESC);
CREATE INDEX IF NOT EXISTS drill_runs_run_id_idx ON sipua.drill_runs (run_id);

-- As for the shared tables: nobody but the owner and service_role.
DO $$
DECLARE
  tab text;
  rolname text;
BEGIN
  FOREACH tab IN ARRAY ARRAY['call_attempts', 'trunk_states', 'trunk_changes', 'drill_runs'] LOOP
    EXECUTE format('ALTER TABLE sipua.%I ENABLE ROW LEVEL SECURITY', tab);
    EXECUTE format('DROP POLICY IF EXISTS %I ON sipua.%I', 'svc_rw_' || tab, tab);
    EXECUTE format('CREATE POLICY %I ON sipua.%I FOR ALL USING (auth.role() = ''service_role'') '
                   'WITH CHECK (auth.role() = ''service_role'')', 'svc_rw_' || tab, tab);
    EXECUTE format('REVOKE ALL ON sipua.%I FROM PUBLIC', tab);
    FOREACH rolname IN ARRAY ARRAY['anon', 'authenticated'] LOOP
      IF to_regrole(rolname) IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON sipua.%I FROM %I', tab, rolname);
      END IF;
    END LOOP;
    IF to_regrole('service_role') IS NOT NULL THEN
      EXECUTE format('GRANT ALL ON sipua.%I TO service_role', tab);
    END IF;
  END LOOP;
  IF to_regrole('service_role') IS NOT NULL THEN
    GRANT USAGE ON SCHEMA sipua TO service_role;
  END IF;
END
$$;
