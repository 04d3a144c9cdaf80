"""Whether anybody would be told of alerts: program, webhook, mail server with its login. Sends nothing."""

from __future__ import annotations

import asyncio
import shutil

from sipua.alert_settings import AlertSettings
from sipua.alerts.channels import mail_channel
from sipua.checks.reached import reached
from sipua.checks.report import Check
from sipua.config_file import check_signing_secret, secret_file
from sipua.errors import ConfigError
from sipua.notify import TRY_S, NotTold

NAME = "alerts"
TRY = "`sipua alerts test` sends one through each channel"


async def told(settings: AlertSettings) -> list[Check]:
    """One for each channel."""
    checks: list[Check] = []
    if settings.command:
        program = settings.command[0]
        if shutil.which(program) is None:
            checks.append(
                Check(f"{NAME} command", "fail", f"{program}: there is no such program", "install it", True)
            )
        else:
            checks.append(Check(f"{NAME} command", "ok", f"{program} is there; {TRY}"))
    if settings.url:
        try:
            check_signing_secret(
                "alerts.secret_file", secret_file("alerts.secret_file", settings.secret_file)
            )
        except ConfigError as error:
            checks.append(Check(f"{NAME} url", "fail", str(error), "mend the setting", True))
        else:
            checks.append(await reached(f"{NAME} url", settings.url))
    if settings.mail_to:
        checks.append(await _mail(settings))
    return checks or [
        Check(NAME, "warn", "nobody is told", "set alerts.command, alerts.url or alerts.mail_to")
    ]


async def _mail(settings: AlertSettings) -> Check:
    name = f"{NAME} mail"
    place = f"{settings.smtp_host}:{settings.smtp_port}"
    try:
        async with asyncio.timeout(TRY_S):
            await mail_channel(settings).probe()
    except ConfigError as error:
        return Check(name, "fail", str(error), "mend the setting", True)
    except (NotTold, TimeoutError) as error:
        why = str(error) or f"{place}: nothing within {TRY_S:g} s"
        return Check(name, "fail", why, "mend alerts.smtp_*, or ask whose server it is")
    encrypted = "unencrypted" if settings.smtp_tls == "none" else settings.smtp_tls
    return Check(name, "ok", f"{place} takes us ({encrypted}); {TRY}")
