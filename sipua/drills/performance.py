"""One drill, performed in this process: pjsua2 allows one endpoint in each, so the runner starts one per drill."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sipua.drills.findings import Result
from sipua.drills.ground import Ground
from sipua.drills.mutations import Mutation
from sipua.drills.scenario import Scenario, result_of_ground
from sipua.errors import SipuaError


async def perform(
    scenario: Scenario, folder: Path, mutation: Mutation, within_s: float | None = None
) -> Result:
    """Performs it; a drill that cannot go on has not held, and says why."""
    fault = ""
    ground = Ground(folder, mutation, within_s)
    async with ground:
        try:
            async with asyncio.timeout(scenario.limit_s):
                await scenario.perform(ground)
        except TimeoutError:
            fault = f"not done within {scenario.limit_s:g} s"
        except SipuaError as error:
            fault = str(error)
        return result_of_ground(scenario, ground, fault)
