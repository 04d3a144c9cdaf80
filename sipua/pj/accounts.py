"""The pjsua accounts of the process: its own, one per ``Account`` for calls, and one more for each that registers.

On the pjsua2 thread only. What is no longer wanted goes once no call and no request of it is open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pjsua2 as pj

from sipua.errors import ConfigError, LocalError
from sipua.pj.account_config import call_config, plain_config, registration_config
from sipua.pj.account_directors import AccountDirector, RegistrationDirector
from sipua.pj.build import accounts_taken
from sipua.pj.directors import CallDirector
from sipua.pj.listeners import Listeners, Opened, check_count, place_of
from sipua.sip_account import Account, Listener
from sipua.sip_events import RegistrationAnswered, SipEvent

OnInvite = Callable[[AccountDirector, int, Any], None]


@dataclass(slots=True)
class _Kept:
    """What belongs to one Account. ``bare`` is the same without its credential, made when it is first needed."""

    account: Account
    opened: Opened
    calls: AccountDirector
    bare: AccountDirector | None = None
    registration: RegistrationDirector | None = None
    expires_s: int = 0
    proxy: int = 0  # which of the outbound proxies is tried
    service_route: tuple[str, ...] = ()  # what the registrar wants calls to go through (RFC 3608)

    @property
    def directors(self) -> list[AccountDirector]:
        return [self.calls] if self.bare is None else [self.calls, self.bare]

    def is_busy(self, in_use: Collection[int]) -> bool:
        """Whether a call (its account's ``id`` is in ``in_use``) or what follows it is still theirs."""
        return any(id(each) in in_use or each.is_awaited for each in self.directors)


class Accounts:
    """``default`` is the account of what nobody's ``select`` claims. ``limit`` is PJSUA_MAX_ACC."""

    def __init__(
        self,
        listeners: Listeners,
        listener: Listener,
        contact_user: str,
        limit: int,
        on_invite: OnInvite,
        post: Callable[[SipEvent], None],
        *,
        has_one_listener: bool,
    ) -> None:
        self._has_one_listener = has_one_listener
        self._listeners = listeners
        self._listener = listener
        self._limit = limit
        self._on_invite = on_invite
        self._post = post
        self._kept: dict[str, _Kept] = {}
        self._retired: list[_Kept] = []
        address = listeners.open(listener).published
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.default = self._created("", plain_config(f"sip:{contact_user}@{host}:{address[1]}"))

    def set(self, accounts: Sequence[Account], calls: Iterable[CallDirector]) -> None:
        """These from now on; an account of one of ``calls`` stays until they have ended.

        ConfigError or LocalError, and nothing has changed, if the build or the machine cannot have them.
        """
        needed = _check_count(accounts, self._limit)
        wanted = [self._listener, *(each.listener for each in accounts)]
        self._listeners.check(wanted)
        if self._has_one_listener and any(place_of(each) != place_of(self._listener) for each in wanted):
            raise ConfigError(
                "this build of pjsua2 does not tell at which listener a call comes in: all trunks must share "
                f"udp {self._listener.bind}:{self._listener.port}"
            )
        names = {each.name for each in accounts}
        in_use = {id(call.account) for call in calls}
        leaving = [kept for name, kept in self._kept.items() if name not in names]
        staying = sum(len(each.directors) for each in (*leaving, *self._retired) if each.is_busy(in_use))
        if needed + staying > self._limit:
            raise LocalError(
                f"the SIP accounts of calls that are up are still needed: {needed + staying} with the new ones; "
                f"this build of pjsua2 has {self._limit}; try again when those calls have ended"
            )
        try:
            opened = [self._listeners.open(each.listener) for each in accounts]
            for kept in leaving:
                _unregister(kept)
                self._retired.append(self._kept.pop(kept.account.name))
            self._shut_retired(in_use)
            for account, place in zip(accounts, opened, strict=True):
                self._put(account, place)
        finally:
            self._close_listeners()

    def named(self, name: str, *, authenticated: bool = True) -> AccountDirector:
        """The account for a call; "" is the default one."""
        if not name:
            return self.default
        kept = self._of(name)
        if authenticated or kept.account.credential is None:
            return kept.calls
        if kept.bare is None:
            kept.bare = self._created(name, call_config(kept.account, kept.opened, with_credential=False))
        return kept.bare

    def headers_of(self, name: str) -> tuple[tuple[str, str], ...]:
        """What stands on every request of the account."""
        return self._of(name).account.headers if name else ()

    def service_route_of(self, name: str) -> tuple[str, ...]:
        """Where calls of the account go after their first target, while it is registered."""
        return self._of(name).service_route if name else ()

    def trunk_of(self, name: str | None) -> str | None:
        """The trunk of an account, if that is known."""
        kept = self._kept.get(name or "")
        return kept.account.trunk if kept is not None else None

    def tls_names_of(self, name: str) -> tuple[str, ...]:
        """What its TLS peers may be called; nothing for an account that is not (any more) known."""
        kept = self._kept.get(name)
        return kept.account.tls_names if kept is not None else ()

    def id_of(self, name: str | None) -> int:
        """pjsua's id; that of the default account for None or a name that is not (any more) known."""
        kept = self._kept.get(name or "")
        return int((kept.calls if kept is not None else self.default).getId())

    def register(self, name: str, expires_s: int) -> None:
        """Sends REGISTER; 0 takes the binding back."""
        kept = self._of(name)
        if not kept.account.registrar:
            raise LocalError(f"account {name} has no registrar")
        if not expires_s:
            if kept.registration is None:
                raise LocalError(f"account {name} has never been registered")
            kept.registration.setRegistration(False)
            return
        if kept.registration is None:
            self._check_room()
            kept.registration = RegistrationDirector(name, self._registered)
            kept.expires_s = expires_s
            kept.registration.create(self._registration_of(kept))
        elif kept.expires_s != expires_s:
            kept.expires_s = expires_s
            kept.registration.modify(self._registration_of(kept))
        kept.registration.setRegistration(True)

    def ask(self, name: str, uri: str, token: UUID) -> None:
        """Sends OPTIONS."""
        self.named(name).ask(uri, token, self.headers_of(name))

    def sweep(self, calls: Iterable[CallDirector]) -> None:
        """Lets go of the accounts that nobody wants any more, unless one of ``calls`` or an answer is still theirs."""
        if self._retired:
            self._shut_retired({id(call.account) for call in calls})
            self._close_listeners()

    def clear(self) -> None:
        """After libDestroy, which ends what is open of them: an account that goes before makes it abort."""
        self._kept.clear()
        self._retired.clear()
        del self.default

    def _put(self, account: Account, opened: Opened) -> None:
        kept = self._kept.get(account.name)
        if kept is None:
            director = self._created(account.name, call_config(account, opened))
            self._kept[account.name] = _Kept(account, opened, director)
            return
        if (kept.account, kept.opened) == (account, opened):
            return
        kept.calls.modify(call_config(account, opened))
        if kept.bare is not None:
            kept.bare.modify(call_config(account, opened, with_credential=False))
        kept.account, kept.opened = account, opened
        _unregister(kept)

    def _registered(self, event: RegistrationAnswered) -> None:
        kept = self._kept.get(event.account)
        if kept is not None:
            values = (event.headers or {}).get("service-route", ()) if event.code == 200 else ()
            kept.service_route = tuple(uri for value in values for uri in re.findall(r"<[^<>]+>", value))
        if kept is not None and event.headers is None:
            kept.proxy += 1  # nobody there: the next one, next time
            if kept.registration is not None and len(kept.account.outbound_proxies) > 1:
                kept.expires_s = 0  # so that the account is set up anew
        self._post(event)

    def _registration_of(self, kept: _Kept) -> pj.AccountConfig:
        proxies = kept.account.outbound_proxies
        proxy = proxies[kept.proxy % len(proxies)] if proxies else ""
        return registration_config(kept.account, kept.opened, kept.expires_s, proxy)

    def _created(self, name: str, config: pj.AccountConfig) -> AccountDirector:
        self._check_room()
        director = AccountDirector(name, self._on_invite, self._post)
        director.create(config)
        return director

    def _check_room(self) -> None:
        """One account too many ends the process on PyPI's wheel: an assertion."""
        if accounts_taken() >= self._limit:
            raise LocalError(f"all {self._limit} SIP accounts of this build of pjsua2 are in use")

    def _of(self, name: str) -> _Kept:
        kept = self._kept.get(name)
        if kept is None:
            raise LocalError(
                f"there is no SIP account {name!r}; there are: {', '.join(self._kept) or 'none'}"
            )
        return kept

    def _shut_retired(self, in_use: Collection[int]) -> None:
        for kept in [each for each in self._retired if not each.is_busy(in_use)]:
            self._retired.remove(kept)
            for director in kept.directors:
                director.shutdown()

    def _close_listeners(self) -> None:
        kept = (*self._kept.values(), *self._retired)
        self._listeners.keep([self._listener, *(each.account.listener for each in kept)])


def check_room(accounts: Sequence[Account], own: Listener, limit: int) -> None:
    """ConfigError if the build has not so many accounts or listeners. Needs no library that runs."""
    _check_count(accounts, limit)
    check_count({place_of(each) for each in (own, *(each.listener for each in accounts))})


def _check_count(accounts: Sequence[Account], limit: int) -> int:
    needed = 1 + len(accounts) + sum(bool(each.registrar) for each in accounts)
    if needed > limit:
        raise ConfigError(
            f"the enabled trunks need {needed} SIP accounts (one of them ours, one per trunk and per number with "
            f"a credential of its own, one more where it registers); this build of pjsua2 has {limit}"
        )
    return needed


def _unregister(kept: _Kept) -> None:
    """Takes its binding back, if there is one; the next REGISTER of the account makes a new one."""
    if kept.registration is not None:
        kept.registration.shutdown()
        kept.registration = None
