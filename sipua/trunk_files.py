"""Trunk files: ``conf/trunks/NAME.toml``, one trunk each, ``schema = 1``. Unknown keys are an error.

A value that only the carrier can tell stands in the file as ``"ask MTN"`` (``ask`` and a name) while the trunk is
disabled; the key then has its default and is listed in ``asks``. The files are read at the start, and again when
somebody asks (SIGHUP), without touching calls: what cannot be read, contradicts itself or does not fit this process
keeps the old ones, and ``status`` says why.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sipua import trunk_rules
from sipua.config_file import describe, read_toml
from sipua.errors import ConfigError, SipuaError
from sipua.trunk import Trunk

log = logging.getLogger(__name__)

ASK = re.compile(r"ask \S.*")

Apply = Callable[[Sequence[Trunk]], Awaitable[None]]


class TrunkFiles:
    """``trunks`` are those in force. Set ``asked`` to have them read again while ``follow`` runs."""

    def __init__(self, conf_dir: Path) -> None:
        self.trunks = load_trunks(conf_dir)
        self.asked = asyncio.Event()
        self._conf_dir = conf_dir
        self._read_at = datetime.now(UTC)
        self._error = ""

    def status(self) -> Mapping[str, Any]:
        """For the control channel: ``error`` is why the last reading changed nothing, "" if it counts."""
        enabled = [trunk.name for trunk in self.trunks if trunk.enabled]
        return {"enabled": enabled, "read_at": self._read_at.isoformat(), "error": self._error}

    async def follow(self, apply: Apply) -> None:
        """Reads them whenever asked and hands what is good to ``apply``, which may refuse; until cancelled."""
        while True:
            await self.asked.wait()
            self.asked.clear()
            try:
                trunks = await asyncio.to_thread(load_trunks, self._conf_dir)
                check_fit(trunks)
                await apply(trunks)
            except SipuaError as error:
                self._error = str(error)
                log.error("trunk files were not read again, the old ones stay: %s", error)
                continue
            self.trunks, self._read_at, self._error = trunks, datetime.now(UTC), ""
            log.info("trunk files read again; enabled: %s", ", ".join(self.status()["enabled"]))


def check_fit(trunks: Sequence[Trunk]) -> None:
    """ConfigError unless a process can work with them."""
    if not any(trunk.enabled for trunk in trunks):
        raise ConfigError(
            "no trunk file in trunks/ of the configuration folder is enabled: nobody could call"
        )


def check_codecs(trunks: Sequence[Trunk], missing: Collection[str]) -> None:
    """ConfigError for a codec that this build of pjsua2 cannot negotiate."""
    for trunk in trunks:
        lacking = [name for name in trunk.codecs if name in missing]
        if trunk.enabled and lacking:
            raise ConfigError(
                f"{trunk.name}.toml: codecs: this build of pjsua2 has no {', '.join(lacking)}; leave it out, or "
                f"`make pjsua2` builds one that has it"
            )


def load_trunks(conf_dir: Path) -> tuple[Trunk, ...]:
    """Every ``conf_dir/trunks/*.toml`` in name order. Raises ConfigError naming file, key and what is allowed."""
    trunks: dict[str, tuple[Trunk, Path]] = {}
    for file in sorted((conf_dir / "trunks").glob("*.toml")):
        trunk = load_trunk(file)
        if trunk.name in trunks:
            raise ConfigError(f"{file}: name = {trunk.name!r} is already used by {trunks[trunk.name][1]}")
        trunks[trunk.name] = trunk, file
    return tuple(trunk for trunk, _ in trunks.values())


def load_trunk(file: Path) -> Trunk:
    """One trunk file."""
    data, asks = _without_asks(read_toml(file))
    try:
        trunk = Trunk.model_validate(data, context=asks)
    except ValidationError as error:
        text = describe(error, file=file)
        if any(fault["type"] == "extra_forbidden" for fault in error.errors()):
            names = [field.alias or key for key, field in Trunk.model_fields.items()]
            text += f"\nallowed keys: {', '.join(names)}"
        raise ConfigError(text) from None
    faults = [
        text for keys, text in trunk_rules.contradictions(trunk) if trunk.enabled or not set(keys) & set(asks)
    ]
    if trunk.enabled:
        faults += [
            f"{key} = {value!r}: not provisioned yet; set it or enabled = false" for key, value in trunk.asks
        ]
        faults += trunk_rules.not_yet(trunk)
    if faults:
        raise ConfigError("\n".join(f"{file}: {fault}" for fault in faults))
    return trunk


def _without_asks(data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The file less the keys that say "ask …" (alone or in a list), and those."""
    kept: dict[str, Any] = {}
    asks: dict[str, str] = {}
    for key, value in data.items():
        marks = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
        mark = next((each for each in marks if ASK.fullmatch(each)), None)
        if mark is None or key not in Trunk.model_fields:
            kept[key] = value
        else:
            asks[key] = mark
    return kept, asks
