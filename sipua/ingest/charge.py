"""What one response has cost that others tell of, for the payload of its event. No I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from sipua.realtime.prices import Price, tokens_of

COUNT_MAX = 10**9  # tokens of one response: more is nonsense, and would spoil the sum of the day


def charge_of(usage: Mapping[str, Any], model: str, price: Callable[[str], Price | None]) -> dict[str, Any]:
    """As ``storage.usage_statements`` sums it; {} of a usage that cannot be."""
    try:
        tokens = tokens_of(usage)
    except (OverflowError, ValueError):
        return {}
    counts = asdict(tokens)
    if not all(math.isfinite(count) and count <= COUNT_MAX for count in counts.values()):
        return {}
    known = price(model)
    return counts | ({"unpriced": model} if known is None else {"cost_usd": round(tokens.cost_usd(known), 6)})
