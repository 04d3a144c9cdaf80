"""The tools that work on the database, as the settings want them, for as long as the process takes calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from sipua.callback_notifier import CallbackNotifier
from sipua.callback_settings import CallbackSettings
from sipua.config_file import check_signing_secret, read_secret, secret_file
from sipua.departments import Departments
from sipua.desk import Desk
from sipua.errors import StoreError
from sipua.metrics import Metrics
from sipua.ports import Clock
from sipua.settings import Settings
from sipua.tasks import tell_of_a_bug
from sipua.tools.builtin import TransferToHuman
from sipua.tools.callback import RequestCallback, Wish
from sipua.tools.memory import Forget, Remember
from sipua.tools.registry import Registry, TypedTool, typed
from sipua.tools.services import BookTransport, SearchServices
from sipua.tools.whatsapp import SendWhatsApp
from sipua.webhook import WhatsAppWebhook

log = logging.getLogger(__name__)

TAKE_UP_AGAIN_S = 30.0
PEOPLE = "sipua/people"  # a place of their own in the registry


def people_tools(registry: Registry, departments: Departments, desk: Desk, clock: Clock) -> None:
    """Those that departments.toml brings, in the place of those that it brought before."""
    tools: list[TypedTool] = []
    if departments.by_name:
        tools.append(TransferToHuman(departments.about()))
    if departments.by_name or departments.our_lines.by_name:
        tools.append(RequestCallback(departments.by_name, desk, clock))
    for left_out in registry.replace(PEOPLE, map(typed, tools)):
        log.error("not offered: %s", left_out)


@asynccontextmanager
async def callback_notifier(
    settings: CallbackSettings,
    desk: Desk,
    metrics: Metrics,
    clock: Clock,
    left: Callable[[], Awaitable[list[Wish]]] | None = None,
) -> AsyncIterator[None]:
    """Whoever is to know of call-back requests is told, also of those ``left`` by processes before.

    ConfigError for a secret that cannot be read.
    """
    where, file, secret = "callbacks.notify_secret_file", settings.notify_secret_file, ""
    if file:
        secret = check_signing_secret(where, secret_file(where, file)).get_secret_value()
    async with CallbackNotifier(settings, secret, desk.callback_told, metrics, clock) as notifier:
        desk.on_callback = notifier.tell
        task = None
        if left is not None and (settings.notify_url or settings.notify_command):
            task = asyncio.create_task(_take_up(left, notifier), name="callbacks-left")
            task.add_done_callback(tell_of_a_bug)
        try:
            yield
        finally:
            if task is not None:
                task.cancel()


async def _take_up(left: Callable[[], Awaitable[list[Wish]]], notifier: CallbackNotifier) -> None:
    """Once, as soon as the database can be read."""
    while True:
        try:
            wishes = await left()
        except StoreError as error:
            log.warning("call-back requests that nobody was told of cannot be read yet: %s", error)
            await asyncio.sleep(TAKE_UP_AGAIN_S)
            continue
        if wishes:
            log.warning("%d call-back requests that nobody was told of are told now", len(wishes))
        for wish in wishes:
            notifier.tell(wish)
        return


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
