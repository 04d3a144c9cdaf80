"""All drills, by name."""

from __future__ import annotations

from collections.abc import Sequence

from sipua.drills.call_drills import CALL_DRILLS
from sipua.drills.health_drills import HEALTH_DRILLS
from sipua.drills.registration_drills import REGISTRATION_DRILLS
from sipua.drills.routing_drills import ROUTING_DRILLS
from sipua.drills.scenario import Scenario
from sipua.drills.tls_drills import TLS_DRILLS
from sipua.errors import ConfigError

SCENARIOS: dict[str, Scenario] = {
    each.name: each
    for each in (*ROUTING_DRILLS, *REGISTRATION_DRILLS, *TLS_DRILLS, *HEALTH_DRILLS, *CALL_DRILLS)
}
ALL = "all"


def chosen(names: Sequence[str]) -> tuple[Scenario, ...]:
    """The scenarios of these names, ``all`` for every one. ConfigError for one that is not."""
    unknown = [name for name in names if name not in SCENARIOS and name != ALL]
    if unknown:
        raise ConfigError(
            f"drill {', '.join(unknown)}: there is no such one; allowed: {ALL}, {', '.join(SCENARIOS)}"
        )
    if ALL in names:
        return tuple(SCENARIOS.values())
    return tuple(SCENARIOS[name] for name in dict.fromkeys(names))
