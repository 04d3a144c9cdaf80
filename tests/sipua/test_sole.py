"""Two agents that are the same worker of the same database must not run at once."""

from __future__ import annotations

import pytest

from sipua.errors import ConfigError
from sipua.sole import SoleWorker

DATABASE = "postgresql://sipua@db.example.com/calls"


def test_the_second_is_refused_until_the_first_is_gone() -> None:
    first = SoleWorker("node", 0, DATABASE)
    with pytest.raises(ConfigError, match=r"node 'node', worker 0 uses the database .*SIPUA_WORKER"):
        SoleWorker("node", 0, DATABASE)
    first.release()
    SoleWorker("node", 0, DATABASE).release()


@pytest.mark.parametrize(("node", "worker", "database"), [("b", 0, "x"), ("a", 1, "x"), ("a", 0, "y")])
def test_another_node_worker_or_database_is_free(node: str, worker: int, database: str) -> None:
    first, second = SoleWorker("a", 0, "x"), SoleWorker(node, worker, database)
    first.release()
    second.release()
