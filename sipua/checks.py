"""The checks of ``sipua doctor``: values in, a verdict with what to do out. Tries real things.

A check of the database starts the embedded server if that is what is configured, as ``serve`` would.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import storage.errors as store
from sipua import app
from sipua.control import NoAgent, ask
from sipua.errors import ConfigError, LocalError, RealtimeError, SipuaError
from sipua.pj.build import LibraryFacts, probe_library
from sipua.realtime.config import AudioFormat
from sipua.realtime.endpoint import is_in_the_clear
from sipua.settings import Settings, load_settings, read_secret
from sipua.trunk import Trunk, load_trunks
from sipua.trunk_files import check_fit
from sipua.trunk_rules import not_yet, secret_references
from storage.dsn import redact
from storage.migrate import check as check_schema

NAMED = 3  # of what a database lacks; the rest is counted


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report; ``todo`` is empty when nothing is to be done."""

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    todo: str = ""

    def as_dict(self) -> dict[str, str]:
        return {"name": self.name, "status": self.status, "detail": self.detail, "todo": self.todo}


async def run_checks(folder: Path) -> list[Check]:
    """All checks in the order in which faults hide each other; stops early where the rest makes no sense."""
    checks: list[Check] = []
    try:
        settings = load_settings(folder)
        trunks = load_trunks(folder)
    except ConfigError as error:
        return [
            Check(
                "configuration",
                "fail",
                str(error),
                "mend the file or name above; `sipua init DIR` writes a fresh one",
            )
        ]
    found = "read" if (folder / "sipua.toml").exists() else "no sipua.toml there: defaults"
    checks.append(Check("configuration", "ok", f"{folder}: {found}"))
    facts = probe_library()
    checks.append(_trunks(trunks, folder))
    checks += [_trunk(trunk, facts) for trunk in trunks]
    checks.append(_library(facts))
    running, agent = await _agent(settings)
    checks.append(agent)
    if not running:
        checks.append(
            _port("sip port", str(settings.sip.bind), settings.sip.port, socket.SOCK_DGRAM, "SIPUA_SIP__PORT")
        )
        checks.append(
            _port(
                "http port",
                str(settings.http.bind),
                settings.http.port,
                socket.SOCK_STREAM,
                "SIPUA_HTTP__PORT",
            )
        )
    checks.append(await _database(settings))
    checks.append(await _voice_service(settings))
    return checks


def _trunks(trunks: tuple[Trunk, ...], folder: Path) -> Check:
    try:
        check_fit(trunks)
    except ConfigError as error:
        return Check(
            "trunks", "fail", f"{folder}/trunks: {error}", "mend the file, or set enabled = true in one"
        )
    enabled = [trunk.name for trunk in trunks if trunk.enabled]
    return Check("trunks", "ok", f"enabled: {', '.join(enabled)}")


def _trunk(trunk: Trunk, facts: LibraryFacts) -> Check:
    """What is to be known about one trunk; a disabled one is no fault, whatever it lacks."""
    name = f"trunk {trunk.name}"
    what = f"{'enabled' if trunk.enabled else 'disabled'}, {trunk.kind}, {trunk.direction}"
    if trunk.transport == "tls" and not facts.has_current_tls:
        detail = f"{what}: transport = tls, and pjsua2 brings {facts.tls}, which is end of life"
        return Check(name, "warn", detail, "`make pjsua2` builds one with a current OpenSSL")
    if trunk.asks:
        marks = ", ".join(f"{key} ({mark})" for key, mark in trunk.asks)
        return Check(name, "ok", f"{what}: to be provisioned: {marks}", f"sipua trunk setup {trunk.name}")
    secrets = _missing_secrets(trunk)
    if secrets:
        state: Literal["ok", "warn"] = "warn" if trunk.enabled else "ok"
        return Check(name, state, f"{what}: {'; '.join(secrets)}", "set it, or correct the key")
    missing = not_yet(trunk)
    return Check(name, "ok", "; ".join([what, *missing]))


def _missing_secrets(trunk: Trunk) -> list[str]:
    found = []
    for where, env, file in secret_references(trunk):
        try:
            read_secret(where, env, file)
        except ConfigError as error:
            found.append(str(error))
    return found


def _library(facts: LibraryFacts) -> Check:
    detail = f"{facts.version} ({facts.build}), {facts.max_calls} calls per process, TLS {facts.tls}"
    if facts.shadowed:
        todo = "run `make pjsua2` or `make pjsua2-wheel`: the one of PyPI wins over the one that you built"
        return Check("pjsua2", "fail", f"{detail}; two builds are installed", todo)
    if facts.build == "wheel":
        return Check(
            "pjsua2",
            "warn",
            detail,
            f"good for tests: more than {facts.max_calls} calls at once are refused with 486; "
            "`make pjsua2` builds the one for trunks",
        )
    return Check("pjsua2", "ok", detail)


async def _agent(settings: Settings) -> tuple[bool, Check]:
    """Whether one runs here (its ports are then in use for good), and what is to be said about it."""
    try:
        status = await ask(settings.state_path, {"command": "status"})
    except NoAgent as error:
        return False, Check("agent", "ok", str(error))
    except LocalError as error:
        return True, Check("agent", "warn", str(error), "look at its log; end it if it hangs")
    detail = f"runs: pid {status.get('pid')}, SIP {status.get('sip')}, {status.get('calls')} calls up"
    return True, Check("agent", "ok", detail)


def _port(name: str, host: str, port: int, kind: socket.SocketKind, variable: str) -> Check:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return Check(
                name, "fail", f"{host}:{port}: {error.strerror}", f"end what uses it, or set {variable}"
            )
    return Check(name, "ok", f"{host}:{port or 'any'} is free")


async def _database(settings: Settings) -> Check:
    try:
        async with app.database(settings) as dsn:
            missing = await check_schema(dsn)
    except (SipuaError, store.StoreError) as error:
        return Check(
            "database", "fail", str(error), "check DATABASE_URL; unset it to use the embedded PostgreSQL"
        )
    if missing:
        more = f"; and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        todo = "run `sipua migrate` (serve does it too); `sipua migrate --check` lists all that is left"
        return Check("database", "warn", f"{redact(dsn)}: {'; '.join(missing[:NAMED])}{more}", todo)
    return Check("database", "ok", f"{redact(dsn)}: reachable, schema complete")


async def _voice_service(settings: Settings) -> Check:
    try:
        backend = app.backend_of(settings)
        session = await backend.open(app.session_config(settings, AudioFormat.PCMU))
    except ConfigError as error:
        return Check(
            "voice service", "fail", str(error), "set OPENAI_API_KEY, or OPENAI_BASE_URL to another server"
        )
    except RealtimeError as error:
        return Check(
            "voice service",
            "fail",
            str(error),
            "check key, model and network; `sipua emulate realtime` works offline",
        )
    await session.close()
    model = session.echoed.get("model", settings.realtime.model)
    detail = f"{settings.openai_base_url}: {model} accepted the configuration"
    if is_in_the_clear(settings.openai_base_url):
        return Check(
            "voice service", "warn", f"{detail}, over an unencrypted connection", "use https:// or wss://"
        )
    return Check("voice service", "ok", detail)
