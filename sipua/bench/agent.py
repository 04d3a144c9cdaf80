"""The agent under test: ``sipua serve`` in a process of its own, as a user runs it, with a passing data directory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from sipua.children import Child, agent_environment
from sipua.resources import shipped_conf

API_KEY = "sk-offline-bench"


@contextlib.asynccontextmanager
async def running_agent(base_url: str, settings: Mapping[str, str] | None = None) -> AsyncIterator[Child]:
    """Runs it against the voice service at ``base_url``; ``settings`` are further ``SIPUA_`` names.

    Ports are any free ones (``ready["sip"]``), the database is an embedded one that goes with the directory.
    """
    with passing_directory() as directory:
        env = agent_environment(shipped_conf(), directory / "state", "bench") | {
            "OPENAI_BASE_URL": base_url,
            "OPENAI_API_KEY": API_KEY,
            "SIPUA_REALTIME__GREETING": "",  # all it says comes from the bench
            "SIPUA_TURNS__IDLE_S": "0",
            **(settings or {}),
        }
        child = await Child.start("the agent", ["serve"], env=env, log=directory / "serve.log")
        try:
            yield child
        finally:
            await child.end()


@contextlib.contextmanager
def passing_directory() -> Iterator[Path]:
    """That the database's user can reach; it goes with what is in it."""
    with tempfile.TemporaryDirectory(prefix="sipua-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)  # as root the database runs as nobody, who has to get there
        yield directory
