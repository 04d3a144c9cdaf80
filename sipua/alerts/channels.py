"""The ways to tell an alert, as the settings want them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol

from sipua.alert_settings import AlertSettings
from sipua.alerts.mail import Mail, MailServer
from sipua.alerts.message import Message
from sipua.config_file import check_signing_secret, secret_file
from sipua.notify import Client, http_client, post_signed, run_told


class Channel(Protocol):
    """Tells one message, or raises NotTold."""

    async def tell(self, message: Message) -> None: ...


class Command:
    """A program that is given the JSON on stdin."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)

    async def tell(self, message: Message) -> None:
        await run_told("alerts.command", self._command, message.body())


class Webhook:
    """A signed POST."""

    def __init__(self, url: str, secret: str, client: Client) -> None:
        self._url = url
        self._secret = secret
        self._client = client

    async def tell(self, message: Message) -> None:
        now = datetime.now(UTC)  # of this try: a receiver refuses what was signed long ago
        await post_signed(
            self._client, "alerts.url", self._url, self._secret, message.id, message.body(), now
        )


def mail_channel(settings: AlertSettings) -> Mail:
    """Raises ConfigError for a password that cannot be read."""
    password = ""
    if settings.smtp_password_file:
        password = secret_file("alerts.smtp_password_file", settings.smtp_password_file).get_secret_value()
    server = MailServer(
        settings.smtp_host,
        settings.smtp_port,
        settings.smtp_tls,
        settings.smtp_ca,
        settings.smtp_user,
        password,
    )
    return Mail(server, settings.mail_from, tuple(settings.mail_to))


@asynccontextmanager
async def open_channels(settings: AlertSettings) -> AsyncIterator[Mapping[str, Channel]]:
    """By name. ConfigError for a secret that cannot be read."""
    found: dict[str, Channel] = {}
    if settings.command:
        found["command"] = Command(settings.command)
    if settings.mail_to:
        found["mail"] = mail_channel(settings)
    async with http_client() as client:
        if settings.url:
            where = "alerts.secret_file"
            secret = check_signing_secret(where, secret_file(where, settings.secret_file)).get_secret_value()
            found["webhook"] = Webhook(settings.url, secret, client)
        yield found
