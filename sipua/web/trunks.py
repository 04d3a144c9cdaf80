"""``/trunks`` and ``/drills``: how the trunks stand, and how the last drills went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args

from fastapi import APIRouter, Depends, Query, Response

from sipua.fleet_view import State, TrunkView
from sipua.web.guard import Guard, Role
from sipua.web.shapes import Responses, json_answer, several, shape, told
from storage.drill_reads import MOST_RUNS, drill_runs
from storage.errors import StoreError
from storage.reading import ReadPool
from storage.trunk_reads import trunk_states

REGISTRATION = shape(
    account="text", state="text", registered="flag", why="text", expires_in_s="integer?", next_in_s="integer?",
    failures="integer",
)  # fmt: skip
TARGET = shape(
    target="text", state=("up", "down"), why="text", probe="text", breaker="text", changed_at="time?",
    options_ms="number?", options_code="integer?",
)  # fmt: skip
TRUNK = shape(
    trunk="text", provider="text", kind="text", direction="text", priority="integer", state=get_args(State),
    why="text", changed_at="time?", breaker="text?", calls="integer", max_channels="integer", dns="text",
    targets=several(TARGET), registrations=several(REGISTRATION),
)  # fmt: skip
DRILL = shape(
    drill="text", held="flag", live="flag", started_at="time", ended_at="time?", attempted="integer?",
    lost="integer?", detect_ms="number?", recover_ms="number?", extra_pdd_ms="number?", attempts_per_call="number?",
    version="text?", node="text?",
)  # fmt: skip
DRILL_EXAMPLE: dict[str, Any] = {
    "drill": "black-hole", "held": True, "live": False, "started_at": "2026-01-02T08:00:00Z",
    "ended_at": "2026-01-02T08:00:09Z", "attempted": 40, "lost": 0, "detect_ms": 505.0, "recover_ms": 1004.0,
    "extra_pdd_ms": 502.0, "attempts_per_call": 1.1, "version": "0.1.0", "node": "sip-1",
}  # fmt: skip
TRUNKS: Responses = told(
    shape(trunks=several(TRUNK), last_drills={"type": ["array", "null"], "items": DRILL}),
    "the trunks as this process sees them; of each drill the last run (null: the database does not answer)",
)
DRILLS: Responses = told(shape(drills=several(DRILL)), "the newest first", {"drills": [DRILL_EXAMPLE]})


def trunks_router(guard: Guard, pool: ReadPool, views: Callable[[], Sequence[TrunkView]]) -> APIRouter:
    router = APIRouter(tags=["trunks"], dependencies=[Depends(guard.requires(Role.READ))])

    @router.get("/trunks", summary="How the trunks stand", responses=TRUNKS)
    async def trunks() -> Response:
        try:
            last = (await trunk_states(pool))["drills"]
        except StoreError:  # trunks are what one looks at when things are down
            last = None
        return json_answer({"trunks": [each.as_dict() for each in views()], "last_drills": last})

    @router.get("/drills", summary="How drills went", responses=DRILLS)
    async def drills(
        drill: Annotated[str | None, Query(pattern="^[a-z0-9-]{1,64}$")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_RUNS)] = 50,
    ) -> Response:
        return json_answer({"drills": await drill_runs(pool, drill, limit)})

    return router
