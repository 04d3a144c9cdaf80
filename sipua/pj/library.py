"""Facts about the pjsua2 that is loaded: version, build, call limit, TLS library. Must not create an Endpoint.

The call limit is a compile-time constant that pjsua2 does not export; the C symbol does (ctypes on the extension).
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pjsua2 as pj

WANTED_CALLS = 1024  # uaConfig.maxCalls: the library lowers it to what it was compiled for


@dataclass(frozen=True, slots=True)
class LibraryFacts:
    """``build`` is ``wheel`` for PyPI's pjsua2-python, else ``own``; ``tls`` names the TLS library or ``none``."""

    version: str
    build: str
    max_calls: int
    tls: str


def _extension_path() -> Path:
    return Path(str(pj._pjsua2.__file__))


def c_library() -> ctypes.CDLL:
    """The loaded extension as ctypes sees it."""
    return ctypes.CDLL(str(_extension_path()))


def silence_console() -> None:
    """pjlib prints to stdout until libInit has its log settings; stdout is for JSON only."""
    c_library().pj_log_set_level(0)


def max_calls() -> int:
    """PJSUA_MAX_CALLS of the loaded build (after libInit: the limit in force)."""
    function = c_library().pjsua_call_get_max_count
    function.restype = ctypes.c_uint
    return int(function())


def _pj_version() -> str:
    function = c_library().pj_get_version
    function.restype = ctypes.c_char_p
    raw = function()
    return raw.decode() if isinstance(raw, bytes) else "unknown"


def _tls_library() -> str:
    data = _extension_path().read_bytes()
    folder = _extension_path().parent
    for path in [*folder.glob("**/libssl*"), *folder.parent.glob("*pjsua2*.libs/*ssl*")]:
        data += path.read_bytes()
    match = re.search(rb"OpenSSL (\d+\.\d+\.\d+[a-z]*)", data)
    return f"OpenSSL {match[1].decode()}" if match else "none"


def library_facts() -> LibraryFacts:
    """Reads the facts from the loaded extension; ``max_calls`` is 0 before libInit."""
    try:
        metadata.version("pjsua2-python")
        build = "wheel"
    except metadata.PackageNotFoundError:
        build = "own"
    return LibraryFacts(version=_pj_version(), build=build, max_calls=max_calls(), tls=_tls_library())


def probe_library() -> LibraryFacts:
    """Starts and ends the library (no transport) to read the limit in force. Once per process only."""
    silence_console()
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.uaConfig.threadCnt = 0
    config.uaConfig.maxCalls = WANTED_CALLS
    config.logConfig.level = config.logConfig.consoleLevel = 0
    endpoint.libInit(config)
    facts = library_facts()
    endpoint.libDestroy()
    return facts
