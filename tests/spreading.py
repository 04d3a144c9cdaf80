"""A hook for all tests, taken over by ``conftest.py``: in which order their files go to pytest-xdist's workers.

``make test`` hands out whole files (``--dist loadfile``), so that the processes a file shares are started once. What
mostly waits goes first, the longest before all: the quick ones fill what is left at the end. pytest-randomly has
shuffled within.
"""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)  # after pytest-randomly
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    limits: dict[str, float] = {}
    for item in items:
        file = item.location[0]
        limits[file] = max(limits.get(file, 0.0), _limit_s(item))
    items.sort(key=lambda item: limits[item.location[0]], reverse=True)


def _limit_s(item: pytest.Item) -> float:
    """Its own time limit; a peer without one counts for a little, any other test for nothing."""
    limit = item.get_closest_marker("timeout")
    if limit is not None:
        return float(limit.args[0])
    return 1.0 if item.get_closest_marker("peer") else 0.0
