"""The library itself: started with our settings, and destroyed in the order that it survives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pjsua2 as pj

from sipua.pj.account_directors import EndpointDirector
from sipua.pj.build import WANTED_CALLS, silence_console


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """Where to listen and what may be negotiated. Port 0 is any free one. ``log_file`` gets pjsip's own log.

    ``max_calls`` is lowered to what the library was compiled for.
    ``public_address`` and ``dscp`` are of the endpoint's own listener, as of any (``sip_account.Listener``).
    """

    bind: str
    port: int
    codecs: tuple[str, ...]
    contact_user: str = "sipua"
    log_file: str = ""
    log_level: int = 0
    public_address: str = ""
    dscp: int = 0
    max_calls: int = WANTED_CALLS


def init_library(endpoint: EndpointDirector, config: EndpointConfig) -> None:
    """Up to the point where transports can be created."""
    silence_console()
    if config.log_file and config.log_level:
        _open_for_us_alone(Path(config.log_file))
    endpoint.libCreate()
    ep = pj.EpConfig()
    ep.uaConfig.threadCnt = 0
    ep.uaConfig.mainThreadOnly = True
    ep.uaConfig.maxCalls = config.max_calls
    ep.uaConfig.userAgent = ""
    ep.uaConfig.natTypeInSdp = 0
    ep.logConfig.level = config.log_level if config.log_file else 0
    ep.logConfig.consoleLevel = 0
    ep.logConfig.filename = config.log_file
    ep.medConfig.clockRate = 8000  # no resampler per call
    ep.medConfig.hasIoqueue = False
    ep.medConfig.threadCnt = 0
    endpoint.libInit(ep)
    endpoint.audDevManager().setNullDev()  # not setNoDev: it leaks a conference port per call


def _open_for_us_alone(log_file: Path) -> None:
    """pjlib keeps the mode of a file that is there; whole messages hold the keys of SRTP and who calls whom."""
    log_file.touch(mode=0o600)
    log_file.chmod(0o600)


def start_library(endpoint: EndpointDirector, config: EndpointConfig) -> None:
    """Once its own listener is open."""
    endpoint.libStart()
    for codec in endpoint.codecEnum2():
        name = codec.codecId.split("/")[0].upper()
        rank = config.codecs.index(name) if name in config.codecs else -1
        endpoint.codecSetPriority(codec.codecId, 0 if rank < 0 else 255 - rank)
