"""The agent under test: ``sipua serve`` in a process of its own, as a user runs it, with a passing data directory."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from sipua.children import Child
from sipua.resources import shipped_conf
from sipua.settings import PREFIX, UNPREFIXED

API_KEY = "sk-offline-bench"


@contextlib.asynccontextmanager
async def running_agent(base_url: str, settings: Mapping[str, str] | None = None) -> AsyncIterator[Child]:
    """Runs it against the voice service at ``base_url``; ``settings`` are further ``SIPUA_`` names.

    Ports are any free ones (``ready["sip"]``), the database is an embedded one that goes with the directory.
    """
    with _passing_directory() as directory:
        env = _environment(directory / "state", base_url) | dict(settings or {})
        child = await Child.start("the agent", ["serve"], env=env, log=directory / "serve.log")
        try:
            yield child
        finally:
            await child.end()


@contextlib.contextmanager
def _passing_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sipua-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)  # as root the database runs as nobody, who has to get there
        yield directory


def _environment(state: Path, base_url: str) -> dict[str, str]:
    """The parent's environment without its settings: the bench measures the shipped configuration."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX) and k not in UNPREFIXED}
    return kept | {
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": API_KEY,
        "SIPUA_CONF": str(shipped_conf()),
        "SIPUA_STATE_DIR": str(state),
        "SIPUA_NODE": f"bench-{os.getpid()}",
        "SIPUA_SIP__BIND": "127.0.0.1",
        "SIPUA_SIP__PORT": "0",
        "SIPUA_RTP__PORT_MIN": "0",
        "SIPUA_RTP__PORT_MAX": "0",
        "SIPUA_HTTP__PORT": "0",
        "SIPUA_REALTIME__GREETING": "",  # all it says comes from the bench
        "PYTHONUNBUFFERED": "1",
    }
