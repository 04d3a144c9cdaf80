"""Calls at OpenAI's SIP out of their parts, as the settings want them, for as long as the process takes webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from sipua.call_consent import ConsentPolicy
from sipua.call_services import CallServices
from sipua.config_file import secret_file
from sipua.database import claimed
from sipua.openai_calls import OpenAICalls
from sipua.openai_line import Claim, Ledger, OpenAILine
from sipua.openai_webhook import Told
from sipua.openai_webhook_settings import OpenAIWebhookSettings
from sipua.ports import Moment
from sipua.realtime.backend import OpenAIBackend
from sipua.sideband_call import SidebandServices
from sipua.signed_webhook import read_secrets

SECRET_FILE = "openai_webhook.secret_file"


@dataclass(frozen=True, slots=True)
class SignedLine:
    """What webhooks are signed with, and who takes those that are."""

    secrets: tuple[bytes, ...]
    line: OpenAILine


def webhook_secrets(settings: OpenAIWebhookSettings) -> tuple[bytes, ...]:
    """Raises ConfigError."""
    text = secret_file(SECRET_FILE, settings.secret_file).get_secret_value()
    return read_secrets(SECRET_FILE, text)


@asynccontextmanager
async def openai_line(
    settings: OpenAIWebhookSettings,
    backend: OpenAIBackend,
    shared: CallServices,
    ledger: Ledger,
    dsn: str,
    is_draining: Callable[[], bool],
) -> AsyncIterator[SignedLine | None]:
    """None without secrets. Its calls must have ended (``end_all``) before it is left. Raises ConfigError."""
    if not settings.secret_file:
        yield None
        return
    secrets = webhook_secrets(settings)
    async with OpenAICalls(backend) as calls:
        services = SidebandServices(
            settings=settings,
            backend=backend,
            calls=calls,
            voice=shared.voice,
            idle=shared.idle,
            keys=shared.keys,
            departments=shared.departments,
            consent=_without_recorder(shared.consent),
            metrics=shared.metrics,
            clock=shared.clock,
        )
        line = OpenAILine(services, ledger, claim_of(dsn, settings.dedupe_timeout_s), is_draining)
        yield SignedLine(secrets, line)


def claim_of(dsn: str, timeout_s: float) -> Claim:
    async def claim(told: Told, at: Moment) -> bool | None:
        return await claimed(dsn, told, at, timeout_s)

    return claim


def _without_recorder(policy: ConsentPolicy | None) -> ConsentPolicy | None:
    """Asked is who may not be written down without; nothing can be recorded."""
    if policy is None or not policy.withholds_transcripts:
        return None
    return replace(policy, recorder=None)
