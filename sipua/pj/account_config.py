"""An ``Account`` of ours as pjsua's AccountConfig: one for calls, one for REGISTER."""

from __future__ import annotations

import pjsua2 as pj

from sipua.pj.listeners import Opened
from sipua.pj.parameters import header_vector
from sipua.sip_account import Account
from sipua.sip_events import Credential

_SRTP = {
    "off": pj.PJMEDIA_SRTP_DISABLED, "optional": pj.PJMEDIA_SRTP_OPTIONAL, "mandatory": pj.PJMEDIA_SRTP_MANDATORY
}  # fmt: skip
_REL100 = {
    "off": pj.PJSUA_100REL_NOT_USED, "supported": pj.PJSUA_100REL_OPTIONAL, "required": pj.PJSUA_100REL_MANDATORY
}  # fmt: skip
_TIMER = {
    "off": pj.PJSUA_SIP_TIMER_INACTIVE,
    "supported": pj.PJSUA_SIP_TIMER_OPTIONAL,
    "required": pj.PJSUA_SIP_TIMER_REQUIRED,
}
_USE_ACCOUNT_PROXY = 2  # PJSUA_REG_USE_ACC_PROXY
REFRESH_S = 1  # before a binding ends pjsua would refresh it by itself; ours is due long before


def plain_config(id_uri: str) -> pj.AccountConfig:
    """Third-party media, nothing registered, no rewriting of what we say about ourselves."""
    config = pj.AccountConfig()
    config.idUri = id_uri
    config.natConfig.sipOutboundUse = 0  # no ";ob" in the Contact
    config.natConfig.contactRewriteUse = 0
    config.natConfig.viaRewriteUse = 0
    config.mediaConfig.useLoopMedTp = True  # third-party media: no RTP socket of pjsua's
    config.mediaConfig.enableLoopback = False
    config.mediaConfig.srtpUse = pj.PJMEDIA_SRTP_DISABLED
    return config


def call_config(account: Account, opened: Opened, *, with_credential: bool = True) -> pj.AccountConfig:
    """For its calls and OPTIONS."""
    host = account.address_of_record.partition("@")[2]
    config = plain_config(f"sip:{account.contact_user}@{host}")
    config.sipConfig.transportId = opened.id
    if account.listener.transport != "udp" or account.listener.public_address != opened.asked.public_address:
        # pjsua's own would name no transport, and look up the Request-URI's host on this thread
        config.sipConfig.contactForced = contact_of(account, opened)
    if with_credential and account.credential is not None:
        config.sipConfig.authCreds.append(_digest(account.credential))
    media, call = config.mediaConfig, config.callConfig
    media.srtpUse = _SRTP[account.srtp]
    media.srtpSecureSignaling = 0  # a hidden Route is insecure to pjsua; the trunk files see to TLS
    if account.srtp != "off":
        for suite in account.srtp_suites:
            crypto = pj.SrtpCrypto()
            crypto.name = suite
            media.srtpOpt.cryptos.append(crypto)
        media.srtpOpt.keyings.append(pj.PJMEDIA_SRTP_KEYING_SDES)
    call.prackUse = _REL100[account.rel100]
    call.timerUse = _TIMER[account.session_timer]
    call.timerSessExpiresSec = account.session_expires_s
    call.timerMinSESec = account.min_se_s
    return config


def registration_config(account: Account, opened: Opened, expires_s: int, proxy: str) -> pj.AccountConfig:
    """For its REGISTERs: sent when we say so, through ``proxy`` if that is not "", never repeated by pjsua."""
    config = plain_config(account.address_of_record)
    config.sipConfig.transportId = opened.id
    config.sipConfig.contactForced = contact_of(account, opened)
    if account.credential is not None:
        config.sipConfig.authCreds.append(_digest(account.credential))
    register = config.regConfig
    register.registrarUri = account.registrar
    register.registerOnAdd = False
    register.disableRegOnModify = True
    register.timeoutSec = expires_s
    register.retryIntervalSec = 0
    register.firstRetryIntervalSec = 0
    register.randomRetryIntervalSec = 0
    register.delayBeforeRefreshSec = REFRESH_S
    register.dropCallsOnFail = False
    register.headers = header_vector(account.headers)
    register.proxyUse = _USE_ACCOUNT_PROXY if proxy else 0
    if proxy:
        config.sipConfig.proxies.append(f"<{proxy};lr>")
    return config


def contact_of(account: Account, opened: Opened) -> str:
    """The URI that the far end reaches us at."""
    host = account.listener.public_address or opened.published[0]
    host = f"[{host}]" if ":" in host else host
    transport = "" if account.listener.transport == "udp" else f";transport={account.listener.transport}"
    return f"<sip:{account.contact_user}@{host}:{opened.published[1]}{transport}>"


def _digest(credential: Credential) -> pj.AuthCredInfo:
    return pj.AuthCredInfo("digest", credential.realm, credential.user, 0, credential.password)
