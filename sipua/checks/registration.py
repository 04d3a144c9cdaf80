"""Registration of the trunks that register: as the running agent tells it, or tried once and taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeGuard

from sipua.accounts import Place, accounts_of, secrets_of
from sipua.checks.report import Check
from sipua.control import ask
from sipua.errors import ConfigError, LocalError, SipuaError
from sipua.names import Names
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.startup import EndpointConfig
from sipua.registrar import RegisterPort
from sipua.settings import Settings
from sipua.sip_account import Account
from sipua.sip_events import Refusal, RegistrationAnswered, SipEvent
from sipua.trunk import Trunk
from sipua.trunks.answers import Contact, granted
from sipua.trunks.registration import REFUSALS

ANSWER_S = 5.0  # pjsip gives up after 32 s; somebody waits
WHAT_TO_CHECK = {
    401: "check auth_user, realm and the password; {provider} must know them",
    407: "check auth_user, realm and the password; {provider} must know them",
    403: "ask {provider} whether the account is active, and whether our address may register",
    404: "check aor_user and domain: {provider} does not know this address of record",
}


def registering(trunks: Sequence[Trunk]) -> list[Trunk]:
    """Those that it is about."""
    return [each for each in trunks if each.enabled and each.kind == "register"]


# ---- an agent runs: it has the binding -------------------------------------------------------------------


async def told_by_agent(trunks: Sequence[Trunk], settings: Settings) -> list[Check]:
    """What it says of each trunk."""
    try:
        answer = await ask(settings.state_path, {"command": "trunks"})
    except LocalError as error:
        answer = {"error": str(error)}
    told = {each["trunk"]: each for each in answer.get("trunks", ())}
    return [_told(trunk, told.get(trunk.name), answer.get("error", "")) for trunk in trunks]


def _told(trunk: Trunk, told: Mapping[str, Any] | None, error: str) -> Check:
    name = f"trunk {trunk.name} registration"
    if told is None:
        detail = error or "the agent that runs does not know this trunk"
        return Check(
            name, "warn", detail, "send it SIGHUP, so that it reads the trunk files again; or start it anew"
        )
    accounts = told["registrations"]
    bound = [each for each in accounts if each["registered"]]
    texts = [
        f"{each['account']}: {each['state']}"
        + (f", {each['expires_in_s']} s left" if each["registered"] else f": {each['why']}")
        for each in accounts
    ]
    if len(bound) == len(accounts) > 0:
        return Check(name, "ok", "; ".join(texts))
    todo = "the agent goes on trying; `sipua trunks` shows when, its log what the registrar said"
    return Check(name, "warn" if bound else "fail", "; ".join(texts) or "not begun", todo)


# ---- none runs: one REGISTER, and one that takes it back -------------------------------------------------


async def tried(trunks: Sequence[Trunk], settings: Settings) -> list[Check]:
    """Registers each account for a moment, from a port of its own."""
    answers: asyncio.Queue[RegistrationAnswered] = asyncio.Queue()  # one per REGISTER

    def deliver(event: SipEvent) -> None:
        if isinstance(event, RegistrationAnswered):
            answers.put_nowait(event)

    sip = settings.sip
    endpoint = SipEndpoint(
        EndpointConfig(bind=str(sip.bind), port=0, codecs=("PCMU",), contact_user=sip.contact_user),
        lambda arrival, message: Refusal(480, "a check takes no calls", None),
        deliver,
        look_up=Names("AAAA" if ":" in str(sip.bind) else "A", trunks).find,
    )
    place = Place(str(sip.bind), 0, sip.contact_user, has_fixed_ports=False)
    async with AsyncExitStack() as stack:
        try:
            accounts = accounts_of(trunks, place, secrets_of(trunks))
            await endpoint.start()
            stack.push_async_callback(endpoint.stop)
            await endpoint.set_accounts(accounts)
        except SipuaError as error:
            return [_cannot(trunk, error) for trunk in trunks]
        of_trunk = {each.name: each for each in trunks}
        return [
            await _try(endpoint, answers, account, of_trunk[account.trunk])
            for account in accounts
            if account.registrar
        ]


def _cannot(trunk: Trunk, error: SipuaError) -> Check:
    is_ours = isinstance(error, ConfigError)
    todo = "mend the setting named" if is_ours else "end what is in the way"
    return Check(f"trunk {trunk.name} registration", "fail", f"cannot be tried: {error}", todo, is_ours)


async def _try(
    endpoint: RegisterPort, answers: asyncio.Queue[RegistrationAnswered], account: Account, trunk: Trunk
) -> Check:
    try:
        answer = await answer_of(endpoint, answers, account, trunk.reg_expires_s)
        if not _is_accepted(answer):
            return refused(trunk, account, answer)
        return accepted(trunk, account, answer, await answer_of(endpoint, answers, account, 0))
    except SipuaError as error:
        return _cannot(trunk, error)


async def answer_of(
    endpoint: RegisterPort, answers: asyncio.Queue[RegistrationAnswered], account: Account, expires_s: int
) -> RegistrationAnswered | None:
    """What is answered to a REGISTER for this account; None if nothing is in time."""
    await endpoint.register(account.name, expires_s)
    try:
        async with asyncio.timeout(ANSWER_S):
            while True:  # another account's may come late: pjsip waits longer than we do
                answer = await answers.get()
                if answer.account == account.name:
                    return answer
    except TimeoutError:
        return None


def _is_accepted(answer: RegistrationAnswered | None) -> TypeGuard[RegistrationAnswered]:
    return answer is not None and 200 <= answer.code < 300


def accepted(
    trunk: Trunk, account: Account, answer: RegistrationAnswered, end: RegistrationAnswered | None
) -> Check:
    """The registrar took our binding; ``end`` is its answer to our taking it back."""
    name = f"trunk {trunk.name} registration"
    seconds = granted(answer.headers or {}, Contact(account.contact_user))
    detail = f"{account.address_of_record} at {account.registrar}: accepted"
    if seconds is not None:
        detail += f" for {seconds} s"
    if seconds not in (None, trunk.reg_expires_s):
        detail += f" ({trunk.reg_expires_s} asked for)"
    if _is_accepted(end):
        return Check(name, "ok", f"{detail}, and taken back")
    said = "not answered" if end is None or end.headers is None else f"answered {end.code}"
    todo = (
        f"it ends by itself; until then calls may ring at a closed port. If it stays, tell {trunk.provider}"
    )
    return Check(name, "warn", f"{detail}; taking it back was {said}", todo)


def refused(trunk: Trunk, account: Account, answer: RegistrationAnswered | None) -> Check:
    """What that means to the operator."""
    name = f"trunk {trunk.name} registration"
    where = f"{account.address_of_record} at {account.registrar}"
    if answer is None or answer.headers is None:
        why = f"no answer within {ANSWER_S:g} s" if answer is None else answer.phrase or "no answer"
        todo = f"check registrar_uri, outbound_proxies and transport, the firewall, and ask {trunk.provider}"
        return Check(name, "fail", f"{where}: {why}", todo)
    said = f"{where}: {answer.code} {answer.phrase}".rstrip()
    if answer.code in REFUSALS:
        todo = WHAT_TO_CHECK[answer.code].format(provider=trunk.provider)
        return Check(name, "fail", f"{said} ({REFUSALS[answer.code].replace('_', ' ')})", todo)
    return Check(name, "fail", said, f"wait, or ask {trunk.provider}: it is the registrar that is not well")
