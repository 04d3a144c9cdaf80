"""The certificate that we show to those who connect to us by TLS."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sipua.checks.report import Check
from sipua.checks.trunk_wire import EXPIRES_SOON_DAYS
from sipua.settings import SipSettings
from sipua.tls_probe import read_certificate
from sipua.trunk import Trunk

NAME = "own certificate"


def own_certificate(sip: SipSettings, trunks: Sequence[Trunk], now: datetime) -> list[Check]:
    """Whether it can be read and for how long it is good; nothing where no trunk needs one."""
    secure = [each for each in trunks if each.enabled and each.transport == "tls"]
    if not secure:
        return []
    if not sip.tls_certificate:
        called = [each.name for each in secure if each.direction != "outbound" and each.kind == "static"]
        if not called:
            return []
        detail = f"none: {', '.join(called)} cannot connect to us by TLS"
        todo = "set sip.tls_certificate and sip.tls_key, or direction = outbound"
        return [Check(NAME, "fail", detail, todo, True)]
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(sip.tls_certificate, sip.tls_key)
        shown = read_certificate(Path(sip.tls_certificate).read_bytes())
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        detail = f"{sip.tls_certificate} with {sip.tls_key}: {reason}"
        return [Check(NAME, "fail", detail, "set both to PEM files that belong together", True)]
    days = (shown.ends - now).days
    detail = f"for {', '.join(shown.names)} until {shown.ends:%Y-%m-%d}, {days} days"
    if shown.ends < now:
        return [Check(NAME, "fail", f"expired: {detail}", "renew it; nobody who verifies it can call", True)]
    if days < EXPIRES_SOON_DAYS:
        return [Check(NAME, "warn", detail, "renew it, then start anew")]
    return [Check(NAME, "ok", detail)]
