"""Asking the agent that runs in the state directory, for the commands that need it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from sipua.cli.command import run
from sipua.control import ask
from sipua.errors import ConfigError, LocalError
from sipua.settings import Settings


def asked(settings: Settings, request: Mapping[str, Any], *, timeout_s: float = 10.0) -> dict[str, Any]:
    """Its answer. NoAgent if none runs; ConfigError or LocalError for what it refuses."""

    async def work(_: asyncio.Event) -> dict[str, Any]:
        return await ask(settings.state_path, request, timeout_s=timeout_s)

    return refused(run(work, patience=0))


def refused(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, or the error that it is."""
    if "error" in answer:
        kind = ConfigError if answer.get("reason") == ConfigError.reason else LocalError
        raise kind(str(answer["error"]))
    return answer
