"""SQL of what trunks do, for ``statements``: who carries a call, its attempts, states and their history, drills."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from storage.trunk_facts import CallAttempt, CallCarried, DrillRun, TargetsWatched, TrunkChange, TrunkState


def fold(story: Iterable[TrunkState | TargetsWatched]) -> list[TrunkState]:
    """One state per key, as if all had been written one after another."""
    folded: dict[tuple[str, int, str, str, str], TrunkState] = {}
    for fact in story:
        if isinstance(fact, TargetsWatched):
            folded = {key: state for key, state in folded.items() if not _forgets(fact, state)}
            continue
        before = folded.get(fact.key)
        if before is None:
            folded[fact.key] = fact
        else:
            folded[fact.key] = replace(
                fact,
                why=before.why if fact.changed_at is None else fact.why,
                changed_at=before.changed_at if fact.changed_at is None else fact.changed_at,
                latency_ms=before.latency_ms if fact.latency_ms is None else fact.latency_ms,
            )
    return list(folded.values())


def _forgets(watched: TargetsWatched, state: TrunkState) -> bool:
    """The same rule as in the SQL. Accounts go with their trunk only."""
    same = (watched.node, watched.worker, watched.trunk) == (state.node, state.worker, state.trunk)
    gone = state.what != "registration" and state.target not in watched.targets
    return same and (gone or not watched.targets)


# A carrier id that another call holds goes to metadata, as when a call is created.
_CALL_CARRIED = """
UPDATE public.voice_calls AS c SET
  trunk = r.trunk, provider = coalesce(r.provider, c.provider),
  sip_session_id = coalesce(r.sip_session_id, c.sip_session_id),
  twilio_call_sid = CASE WHEN r.twilio_taken THEN c.twilio_call_sid
                         ELSE coalesce(r.twilio_call_sid, c.twilio_call_sid) END,
  mtn_call_sid = CASE WHEN r.mtn_taken THEN c.mtn_call_sid ELSE coalesce(r.mtn_call_sid, c.mtn_call_sid) END,
  metadata = coalesce(c.metadata, '{}')
    || CASE WHEN r.twilio_taken THEN jsonb_build_object('twilio_call_sid_repeated', r.twilio_call_sid) ELSE '{}' END
    || CASE WHEN r.mtn_taken THEN jsonb_build_object('mtn_call_sid_repeated', r.mtn_call_sid) ELSE '{}' END,
  updated_at = now()
FROM (SELECT r.*,
    r.twilio_call_sid IS NOT NULL AND (
      row_number() OVER (PARTITION BY r.twilio_call_sid ORDER BY r.nr) > 1 OR EXISTS (
        SELECT 1 FROM public.voice_calls v WHERE v.twilio_call_sid = r.twilio_call_sid AND v.id <> r.call_id)
    ) AS twilio_taken,
    r.mtn_call_sid IS NOT NULL AND (
      row_number() OVER (PARTITION BY r.mtn_call_sid ORDER BY r.nr) > 1 OR EXISTS (
        SELECT 1 FROM public.voice_calls v WHERE v.mtn_call_sid = r.mtn_call_sid AND v.id <> r.call_id)
    ) AS mtn_taken
  FROM ROWS FROM (jsonb_to_recordset(%s::jsonb) AS (
    call_id uuid, trunk text, provider text, sip_session_id text, twilio_call_sid text, mtn_call_sid text))
    WITH ORDINALITY AS r(call_id, trunk, provider, sip_session_id, twilio_call_sid, mtn_call_sid, nr)) AS r
WHERE c.id = r.call_id
"""
_CALL_ATTEMPT = """
INSERT INTO sipua.call_attempts (id, call_id, ordinal, trunk, target, code, reason, ms, decision, started_at)
SELECT id, call_id, ordinal, trunk, target, code, reason, ms, decision, started_at
FROM jsonb_to_recordset(%s::jsonb) AS r (
  id uuid, call_id uuid, ordinal integer, trunk text, target text, code integer, reason text, ms integer,
  decision text, started_at timestamptz)
ON CONFLICT DO NOTHING
"""
_TRUNK_STATE = """
INSERT INTO sipua.trunk_states AS s
  (node, worker, instance, trunk, target, what, state, why, changed_at, seen_at, latency_ms)
SELECT coalesce(node, ''), worker, instance, trunk, coalesce(target, ''), what, state, why, changed_at, seen_at,
  latency_ms
FROM jsonb_to_recordset(%s::jsonb) AS r (
  node text, worker integer, instance uuid, trunk text, target text, what text, state text, why text,
  changed_at timestamptz, seen_at timestamptz, latency_ms numeric)
ON CONFLICT (node, worker, trunk, target, what) DO UPDATE SET
  instance = excluded.instance, state = excluded.state,
  why = CASE WHEN excluded.changed_at IS NULL THEN s.why ELSE excluded.why END,
  changed_at = coalesce(excluded.changed_at, s.changed_at), seen_at = excluded.seen_at,
  latency_ms = coalesce(excluded.latency_ms, s.latency_ms)
"""
_TRUNK_CHANGE = """
INSERT INTO sipua.trunk_changes (id, at, node, worker, instance, trunk, target, what, before, after, why)
SELECT id, at, coalesce(node, ''), worker, instance, trunk, coalesce(target, ''), what, before, after, why
FROM jsonb_to_recordset(%s::jsonb) AS r (
  id uuid, at timestamptz, node text, worker integer, instance uuid, trunk text, target text, what text,
  before text, after text, why text)
ON CONFLICT (id) DO NOTHING
"""
# Before the states of the same batch, of which ``fold`` has left what comes after it.
_TARGETS_WATCHED = """
DELETE FROM sipua.trunk_states AS s
USING jsonb_to_recordset(%s::jsonb) AS r (node text, worker integer, trunk text, targets text[])
WHERE s.node = coalesce(r.node, '') AND s.worker = r.worker AND s.trunk = r.trunk
  AND (cardinality(r.targets) = 0 OR (s.what <> 'registration' AND s.target <> ALL (r.targets)))
"""
_DRILL_RUN = """
INSERT INTO sipua.drill_runs (id, run_id, drill, held, detect_ms, attempted, lost, extra_pdd_ms, attempts_per_call,
  recover_ms, mutate, live, version, node, started_at, ended_at, details)
SELECT id, run_id, drill, held, detect_ms, attempted, lost, extra_pdd_ms, attempts_per_call, recover_ms, mutate,
  live, version, coalesce(node, ''), started_at, ended_at, details
FROM jsonb_to_recordset(%s::jsonb) AS r (
  id uuid, run_id uuid, drill text, held boolean, detect_ms numeric, attempted integer, lost integer,
  extra_pdd_ms numeric, attempts_per_call numeric, recover_ms numeric, mutate text, live boolean, version text,
  node text, started_at timestamptz, ended_at timestamptz, details jsonb)
ON CONFLICT (id) DO NOTHING
"""

# In the order in which they run.
SQL = {
    CallCarried.__name__: _CALL_CARRIED,
    CallAttempt.__name__: _CALL_ATTEMPT,
    TrunkChange.__name__: _TRUNK_CHANGE,
    TargetsWatched.__name__: _TARGETS_WATCHED,
    TrunkState.__name__: _TRUNK_STATE,
    DrillRun.__name__: _DRILL_RUN,
}
