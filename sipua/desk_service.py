"""The tools that work on the database, as the settings want them, for as long as the process takes calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from sipua.config_file import read_secret
from sipua.desk import Desk
from sipua.ports import Clock
from sipua.settings import Settings
from sipua.tools.memory import Forget, Remember
from sipua.tools.registry import Registry
from sipua.tools.services import BookTransport, SearchServices
from sipua.tools.whatsapp import SendWhatsApp
from sipua.webhook import WhatsAppWebhook


@asynccontextmanager
async def desk_tools(
    settings: Settings, registry: Registry, desk: Desk, clock: Clock
) -> AsyncIterator[WhatsAppWebhook | None]:
    """Into the registry. Gives the webhook, where there is one. ConfigError for a secret that cannot be read."""
    registry.add(SearchServices(desk), BookTransport(desk, clock))
    if settings.memory.enabled:
        registry.add(Remember(desk, clock), Forget(desk, clock))
    chosen = settings.whatsapp
    if not chosen.phone_number_id:
        yield None
        return
    token = read_secret("whatsapp.token_file", "", chosen.token_file).get_secret_value()
    webhook = None
    if chosen.app_secret_file:
        webhook = WhatsAppWebhook(
            chosen.phone_number_id,
            read_secret("whatsapp.app_secret_file", "", chosen.app_secret_file).get_secret_value(),
            read_secret("whatsapp.verify_token_file", "", chosen.verify_token_file).get_secret_value(),
            desk.told_by_whatsapp,
            lambda: clock.now().wall,
        )
    async with AsyncExitStack() as stack:
        registry.add(await stack.enter_async_context(SendWhatsApp(chosen, token, desk, clock)))
        yield webhook
