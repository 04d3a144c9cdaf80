"""SQL of what calls have cost that others hold, for ``statements``: summed over their events, once per response.

The sum is made anew from the events of the call, so a response that is told twice, by two processes or after a restart
counts once. A call with a SIP leg of ours is charged by that leg (``metadata.instance``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from storage.facts import Event, Fact

CHARGED = "usage of a call that others hold"
CHARGE = (
    "charge"  # in the payload of an openai_response_done: tokens and cost_usd, or the model without a price
)

_COUNTED = ("text_in", "text_cached", "text_out", "audio_in", "audio_cached", "audio_out", "seconds")
_SUMS = ", ".join(f"'{name}', coalesce(sum((o.charge ->> '{name}')::numeric), 0)" for name in _COUNTED)
_CHARGED = f"""
UPDATE public.voice_calls AS c SET
  metadata = coalesce(c.metadata, '{{}}') || jsonb_build_object('usage', w.usage), updated_at = now()
FROM (
  SELECT r.call_id, jsonb_build_object('responses', count(*), {_SUMS},
      'cost_usd', coalesce(round(sum((o.charge ->> 'cost_usd')::numeric), 6), 0))
    || CASE WHEN count(o.charge -> 'unpriced') = 0 THEN '{{}}'
       ELSE jsonb_build_object('unpriced', jsonb_agg(DISTINCT o.charge -> 'unpriced')
                                           FILTER (WHERE o.charge ? 'unpriced')) END AS usage
  FROM (SELECT DISTINCT x.call_id FROM jsonb_to_recordset(%s::jsonb) AS x (call_id uuid)) AS r
  CROSS JOIN LATERAL (
    SELECT DISTINCT ON (coalesce(e.payload ->> 'response_id', e.id::text)) e.payload -> '{CHARGE}' AS charge
    FROM public.voice_events AS e
    WHERE e.call_id = r.call_id AND e.type = 'openai_response_done' AND e.payload ? '{CHARGE}'
    ORDER BY coalesce(e.payload ->> 'response_id', e.id::text), e.t, e.id
  ) AS o
  GROUP BY r.call_id
) AS w
WHERE c.id = w.call_id AND NOT coalesce(c.metadata ? 'instance', false)
  AND c.metadata -> 'usage' IS DISTINCT FROM w.usage
"""

SQL = {CHARGED: _CHARGED}


def told_of(facts: Iterable[Fact]) -> list[dict[str, Any]]:
    """The calls whose sum may be another after these."""
    calls: dict[UUID, None] = {
        fact.call_id: None
        for fact in facts
        if isinstance(fact, Event) and fact.type == "openai_response_done" and CHARGE in (fact.payload or ())
    }
    return [{"call_id": str(call)} for call in calls]
