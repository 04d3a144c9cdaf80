"""What would fail later is refused at the start, before anything has been touched: a start that cannot succeed should
leave nothing behind.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sipua.accounts import Place, accounts_of, own_listener, secrets_of
from sipua.admission import callers_of
from sipua.clock import SystemClock
from sipua.errors import ConfigError, LocalError
from sipua.pj.accounts import check_room
from sipua.pj.build import max_accounts, missing_codecs
from sipua.realtime.config import AudioFormat
from sipua.realtime.endpoint import is_in_the_clear
from sipua.realtime_settings import warnings
from sipua.settings import Settings, SipSettings
from sipua.sip_account import Listener
from sipua.texts import Texts
from sipua.tls_probe import read_certificate
from sipua.tracing import check_tracing
from sipua.trunk import Trunk
from sipua.trunk_files import check_codecs, check_fit
from sipua.voice_settings import own_instructions, session_config, unused_instructions

log = logging.getLogger(__name__)


def checked(settings: Settings, texts: Texts, trunks: Sequence[Trunk], place: Place) -> Listener:
    """Our own listener. Raises SipuaError for what does not fit."""
    session_config(settings, AudioFormat.PCMU)
    own_instructions(settings)
    check_texts(settings, texts)
    check_fit(trunks)
    check_tracing(settings)
    check_codecs(trunks, missing_codecs())
    accounts = accounts_of(trunks, place, secrets_of(trunks))
    own = own_listener(accounts, place)
    check_room(accounts, own, max_accounts())
    callers_of(trunks)
    _check_rtp_bind(settings.rtp_bind)
    _check_sip_port(str(settings.sip.bind), settings.sip.port)
    return own


def check_texts(settings: Settings, texts: Texts) -> None:
    """Also of texts that are read again. Raises ConfigError."""
    texts.departments.check(settings.transfer.on_refusal, "transfer.on_refusal")


def _check_rtp_bind(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise ConfigError(
                f"rtp.bind (or sip.bind) = {address!r}: not an address of this machine: {error.strerror}"
            ) from None


def _check_sip_port(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            raise LocalError(
                f"SIP cannot listen on udp {join_address(address, port)}: {error.strerror}"
            ) from None


def warn(settings: Settings, texts: Texts) -> None:
    """Of what works, and should not stay so."""
    for text in warnings(settings.realtime, settings.voice_service, SystemClock().now().wall.date()):
        log.warning("%s", text)
    for text in (
        *texts.notes,
        *unused_instructions(settings, texts),
        *settings.http.warnings(),
        *settings.spend.warnings(settings.realtime.model, settings.realtime.transcription_model),
    ):
        log.warning("%s", text)
    if is_in_the_clear(settings.openai_base_url):
        log.warning("OPENAI_BASE_URL: the key and the callers' voices cross the network unencrypted")


def shown_until(sip: SipSettings) -> datetime | None:
    """The end of the certificate that we show; None without one, or where it cannot be read (SIP says why)."""
    try:
        return read_certificate(Path(sip.tls_certificate).read_bytes()).ends if sip.tls_certificate else None
    except (OSError, ValueError):
        return None


def join_address(host: str, port: int) -> str:
    """host:port as a URI has it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
