"""WhatsApp's Cloud API, asked as ``send_whatsapp`` would use it: token, sending number, template. Nothing is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from sipua.checks.report import Check
from sipua.config_file import read_secret
from sipua.errors import ConfigError
from sipua.whatsapp import WhatsAppSettings

TIMEOUT_S = 5.0
TOKEN_REFUSED = 190  # codes of the Graph API
NOT_THERE = (100, 803)
NO_RIGHT = (3, 10, *range(200, 300))
NAME = "whatsapp"


class _Refused(Exception):
    """``told`` and what to do."""

    def __init__(self, told: str, todo: str) -> None:
        super().__init__(told)
        self.todo = todo


async def whatsapp(settings: WhatsAppSettings) -> list[Check]:
    """None where no number is set."""
    if not settings.phone_number_id:
        return []
    try:
        token = read_secret("whatsapp.token_file", "", settings.token_file).get_secret_value()
    except ConfigError as error:
        return [Check(NAME, "fail", str(error), "put the access token into that file", True)]
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=settings.base_url, headers=headers, timeout=TIMEOUT_S, trust_env=False
    ) as client:
        try:
            number = await _asked(client, settings.phone_number_id, fields="verified_name")
        except _Refused as refused:
            return [Check(NAME, "fail", str(refused), refused.todo)]
        found = Check(
            NAME, "ok", f"{settings.base_url}: sends as {number.get('verified_name') or 'a number'}"
        )
        return [found, await _template(client, settings)]


async def _template(client: httpx.AsyncClient, settings: WhatsAppSettings) -> Check:
    name, account = f"{NAME} template", settings.business_account_id
    if not account:
        todo = "set whatsapp.business_account_id (WhatsApp Manager shows it) to have this checked"
        return Check(name, "warn", f"{settings.template}: whether it exists is not known", todo)
    try:
        answer = await _asked(
            client, f"{account}/message_templates", name=settings.template, fields="name,language,status"
        )
    except _Refused as refused:
        return Check(name, "fail", str(refused), refused.todo)
    listed = answer.get("data")
    states = {
        str(each.get("language")): str(each.get("status"))
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, dict)
        and each.get("name") == settings.template  # the filter finds parts of names too
    }
    if not states:
        todo = "have it approved in WhatsApp Manager, or mend whatsapp.template"
        return Check(name, "fail", f"there is no template {settings.template!r}", todo)
    lacking = [
        f"{code} ({states.get(code, 'not there')})"
        for code in dict.fromkeys(settings.template_languages.values() or ("en",))
        if states.get(code) != "APPROVED"
    ]
    if lacking:
        todo = "have it approved in these languages, or mend whatsapp.template_languages"
        return Check(name, "fail", f"{settings.template} cannot be sent in {', '.join(lacking)}", todo)
    return Check(name, "ok", f"{settings.template}: approved in {', '.join(states)}")


async def _asked(client: httpx.AsyncClient, path: str, **query: str) -> Mapping[str, Any]:
    """What the API answers; ``_Refused`` in words for the operator."""
    where = client.base_url.host
    try:
        async with asyncio.timeout(TIMEOUT_S):  # of all of it: httpx counts from byte to byte
            response = await client.get(path, params=query)
    except (httpx.HTTPError, TimeoutError) as failure:
        told = str(failure) or f"nothing within {TIMEOUT_S:g} s"
        raise _Refused(f"{where}: {told}", "check the network and whatsapp.base_url") from None
    answer = _object(response)
    if answer is None:
        told = f"{where}: HTTP {response.status_code} without a JSON object"
        raise _Refused(told, "check whatsapp.base_url")
    error = answer.get("error")
    if response.is_success and not isinstance(error, dict):
        return answer
    code = error.get("code") if isinstance(error, dict) else None
    told = f"{where}: HTTP {response.status_code}, code {code}"
    if code == TOKEN_REFUSED or response.status_code == 401:
        raise _Refused(
            f"{told}: the token is refused", "put a new one into whatsapp.token_file; it may have expired"
        )
    if code in NO_RIGHT or response.status_code == 403:
        todo = "give the token whatsapp_business_messaging and whatsapp_business_management"
        raise _Refused(f"{told}: the token lacks a permission", todo)
    if code in NOT_THERE or response.status_code == 404:
        asked = path.partition("/")[0]
        todo = "check whatsapp.phone_number_id and business_account_id, and whose the token is"
        raise _Refused(f"{told}: {asked} is not there for this token", todo)
    raise _Refused(told, "try again later; https://metastatus.com shows known faults")


def _object(response: httpx.Response) -> Mapping[str, Any] | None:
    try:
        value = response.json()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
