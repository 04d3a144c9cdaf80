"""Facts about the pjsua2 that is loaded: version, build, limits, TLS library. Must not create an Endpoint at import.

The limits are compile-time constants that pjsua2 does not export. C functions of the extension tell them (ctypes): the
call limit in every build, the account limit through a function that ``conf/deploy/pjsua2/build.sh`` adds to ours.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal

import pjsua2 as pj

WANTED_CALLS = 1024  # uaConfig.maxCalls: the library lowers it to what it was compiled for
WHEEL_ACCOUNTS = 8  # PJSUA_MAX_ACC where nobody changed it
OLDEST_CURRENT_OPENSSL = (3, 0)  # what came before is end of life: 1.0.2 in 2019, 1.1.1 in 2023
WHEEL, OWN = "pjsua2-python", "pjsua2"  # names of the distributions; both are imported as pjsua2


@dataclass(frozen=True, slots=True)
class LibraryFacts:
    """``build`` is ``wheel`` for PyPI's pjsua2-python, else ``own``; ``tls`` names the TLS library or ``none``.

    ``distribution`` is what pip calls it, with the version that names source and recipe of our builds. ``shadowed`` is
    the other one if both are installed (the wheel wins): a fault of the installation.
    """

    version: str
    build: Literal["wheel", "own"]
    max_calls: int
    tls: str
    max_accounts: int = 0
    distribution: str = ""
    shadowed: str = ""
    codecs: tuple[str, ...] = ()  # as in a=rtpmap; only after libInit

    @property
    def has_current_tls(self) -> bool:
        """Whether the TLS library still gets security fixes, as far as its major version tells."""
        found = re.match(r"OpenSSL (\d+)\.(\d+)", self.tls)
        return found is not None and (int(found[1]), int(found[2])) >= OLDEST_CURRENT_OPENSSL


def _extension_path() -> Path:
    return Path(str(pj._pjsua2.__file__))


@cache
def c_library() -> ctypes.CDLL:
    """The loaded extension as ctypes sees it."""
    return ctypes.CDLL(str(_extension_path()))


def silence_console() -> None:
    """pjlib prints to stdout until libInit has its log settings; stdout is for JSON only."""
    c_library().pj_log_set_level(0)


def max_calls() -> int:
    """PJSUA_MAX_CALLS of the loaded build (after libInit: the limit in force; before: 0)."""
    function = c_library().pjsua_call_get_max_count
    function.restype = ctypes.c_uint
    return int(function())


def slots_taken() -> int:
    """Calls that hold one of the ``max_calls`` slots now; a plain read, from any thread.

    An INVITE is counted once ``onIncomingCall`` has returned. One of ours that was hung up before any answer holds its
    slot until Timer B (31.7 s measured on both builds), long after DISCONNECTED was reported.
    """
    function = c_library().pjsua_call_get_count
    function.restype = ctypes.c_uint
    return int(function())


def max_accounts() -> int:
    """PJSUA_MAX_ACC of the loaded build."""
    try:
        function = c_library().sipua_max_accounts
    except AttributeError:
        return WHEEL_ACCOUNTS
    function.restype = ctypes.c_uint
    return int(function())


def accounts_taken() -> int:
    """Accounts that there are now; on the pjsua2 thread."""
    function = c_library().pjsua_acc_get_count
    function.restype = ctypes.c_uint
    return int(function())


def _pj_version() -> str:
    function = c_library().pj_get_version
    function.restype = ctypes.c_char_p
    raw = function()
    return raw.decode() if isinstance(raw, bytes) else "unknown"


def _tls_library() -> str:
    """Asked of the OpenSSL that the extension is linked to (the lookup goes through its dependencies)."""
    library = c_library()
    for name in ("OpenSSL_version", "SSLeay_version"):  # the latter before 1.1
        function = getattr(library, name, None)
        if function is None:
            continue
        function.restype = ctypes.c_char_p
        found = re.match(rb"OpenSSL \d+\.\d+\.\d+[a-z]*", function(0) or b"")
        if found:
            return found[0].decode()
    return "none"


def _distribution(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return ""


def missing_codecs() -> frozenset[str]:
    """Of our codecs those that this build cannot negotiate; told by its symbols, so before libInit too."""
    return frozenset() if hasattr(c_library(), "pjmedia_codec_opus_init") else frozenset({"OPUS"})


def library_facts() -> LibraryFacts:
    """Reads the facts from the loaded extension; ``max_calls`` is 0 before libInit."""
    # the wheel is a package, ours a module; what is installed does not tell which of two was imported
    is_wheel = Path(str(pj.__file__)).name == "__init__.py"
    wheel, own = _distribution(WHEEL), _distribution(OWN)
    return LibraryFacts(
        version=_pj_version(),
        build="wheel" if is_wheel else "own",
        max_calls=max_calls(),
        tls=_tls_library(),
        max_accounts=max_accounts(),
        distribution=wheel if is_wheel else own,
        shadowed=own if is_wheel else wheel,
    )


def probe_library() -> LibraryFacts:
    """Starts and ends the library (no transport) to read limit and codecs in force. Once per process only."""
    silence_console()
    endpoint = pj.Endpoint()
    endpoint.libCreate()
    config = pj.EpConfig()
    config.uaConfig.threadCnt = 0
    config.uaConfig.maxCalls = WANTED_CALLS
    config.logConfig.level = config.logConfig.consoleLevel = 0
    endpoint.libInit(config)
    names = {info.codecId.partition("/")[0].upper() for info in endpoint.codecEnum2()}
    facts = replace(library_facts(), codecs=tuple(sorted(names)))
    endpoint.libDestroy()
    return facts
