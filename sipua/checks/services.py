"""Database and voice service: opened as ``serve`` would open them."""

from __future__ import annotations

from datetime import UTC, datetime

import storage.errors as store
from sipua.checks.report import Check, Status
from sipua.database import migrate_dsn, open_database
from sipua.errors import ConfigError, RealtimeError, SipuaError
from sipua.openai_calls import CallGone, OpenAICalls
from sipua.openai_service import webhook_secrets
from sipua.realtime.config import AudioFormat
from sipua.realtime.endpoint import is_in_the_clear
from sipua.realtime_settings import warnings
from sipua.settings import Settings
from sipua.voice_settings import backend_of, session_config
from storage.dsn import redact
from storage.migrate import check as check_schema
from storage.migrate import misfits

NO_CALL = "rtc_sipua_doctor"
NAMED = 3  # of what a database lacks; the rest is counted


async def database(settings: Settings) -> Check:
    """Reachable, with our schema? The embedded one is started for it."""
    try:
        async with open_database(settings) as dsn:
            missing = await check_schema(migrate_dsn(dsn, settings))
            refused = await misfits(dsn)
    except (SipuaError, store.StoreError) as error:
        todo = "check DATABASE_URL; unset it to use the embedded PostgreSQL"
        return Check("database", "fail", str(error), todo, isinstance(error, ConfigError))
    pending = [each for each in missing if each.startswith("migration ")]
    if pending:  # the rest follows from it
        missing = pending
    elif refused:
        todo = "`sipua migrate --check` lists everything, docs/database.md says what to do"
        return Check("database", "fail", f"{redact(dsn)} does not fit: {'; '.join(refused[:NAMED])}", todo)
    if missing:
        more = f"; and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        todo = "run `sipua migrate` (serve does it too); `sipua migrate --check` lists all that is left"
        said = f"missing, of another kind or open: {'; '.join(missing[:NAMED])}{more}"
        return Check("database", "warn", f"{redact(dsn)}: {said}", todo)
    return Check("database", "ok", f"{redact(dsn)}: reachable, schema complete")


async def voice_service(settings: Settings) -> Check:
    """Key, model and configuration, tried with a session."""
    try:
        backend = backend_of(settings)
        session = await backend.open(session_config(settings, AudioFormat.PCMU))
    except ConfigError as error:
        todo = "set OPENAI_API_KEY, or OPENAI_BASE_URL to another server"
        return Check("voice service", "fail", str(error), todo, True)
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
    odd = warnings(settings.realtime, settings.voice_service, datetime.now(UTC).date())
    todos = ["change it in sipua.toml before that day"] if odd else []
    if unpriced := settings.spend.warnings(settings.realtime.model, settings.realtime.transcription_model):
        odd += unpriced
        todos.append("write what it costs into spend.prices (docs/voice-service.md)")
    if is_in_the_clear(settings.openai_base_url):
        odd.append("the connection is not encrypted")
        todos.append("use https:// or wss://")
    status: Status = "warn" if odd else "ok"
    return Check("voice service", status, "; ".join([detail, *odd]), "; ".join(todos))


async def openai_webhook(settings: Settings) -> Check | None:
    """None where there is none. Its secrets, and whether requests about calls are understood: one about no call."""
    chosen, name = settings.openai_webhook, "OpenAI's webhook"
    if not chosen.secret_file:
        return None
    try:
        count = len(webhook_secrets(chosen))
        backend = backend_of(settings)
    except ConfigError as error:
        return Check(name, "fail", str(error), "docs/openai-calls.md says what belongs there", True)
    told = f"{count} secret{'s' if count > 1 else ''}, calls: {chosen.incoming}"
    if chosen.incoming == "ignore":
        return Check(name, "ok", told)
    try:
        async with OpenAICalls(backend, pauses_s=()) as calls:
            await calls.hang_up(NO_CALL)
    except CallGone:
        return Check(name, "ok", f"{told}; {settings.openai_base_url} answers requests about calls")
    except RealtimeError as error:
        return Check(name, "fail", str(error), "check key and network: calls could not be accepted")
    return Check(name, "warn", f"{told}; a call that cannot exist was hung up", "check OPENAI_BASE_URL")
