"""Who may import whom: the table of docs/architecture.md, held against the imports of every module."""

from __future__ import annotations

import ast
import functools
import graphlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("sipua", "rtp", "storage")

# A library or a package of ours, and the only modules (with what lies below them) that may import it.
IMPORTERS: dict[str, tuple[str, ...]] = {
    "pjsua2": ("sipua.pj",),
    "websockets": ("sipua.realtime",),
    "aiortc": ("rtp", "sipua.bench.jitter"),  # the bench: its jitter buffer, to compare with
    "av": ("rtp",),
    "pylibsrtp": ("rtp.srtp",),
    "cryptography": ("sipua.tls_probe", "sipua.drills.certificates"),
    "aioice": ("sipua.stun",),
    "dns": ("sipua.resolve", "sipua.drills.name_server"),
    "psycopg": ("storage",),
    "psycopg_pool": ("storage.reading",),
    "obstore": ("sipua.recording_store",),
    "fastapi": ("sipua.web",),
    "starlette": ("sipua.http", "sipua.web", "sipua.realtime.emulator", "sipua.bench"),
    "uvicorn": ("sipua.http", "sipua.realtime.emulator", "sipua.bench"),
    "webrtcvad": ("sipua.realtime.emulator",),
    "phonenumbers": ("sipua.locale", "sipua.trunks"),
    "prometheus_client": ("sipua.metrics", "sipua.metric_families"),
    "structlog": ("sipua.log",),
    "typer": ("sipua.cli",),
    "rich": ("sipua.cli",),
    "uvloop": ("sipua.cli", "sipua.bench.egress"),  # its calls run on the loop that serve has
    "storage": (
        "storage", "sipua.app", "sipua.http_service", "sipua.talk_service",
        "sipua.chat_service", "sipua.chat_screen", "sipua.database",
        "sipua.desk", "sipua.dial_service", "sipua.ingest",
        "sipua.ingest_service", "sipua.twilio", "sipua.ledger", "sipua.ledger_facts", "sipua.trunk_ledger",
        "sipua.demo", "sipua.checks", "sipua.bench", "sipua.drills", "sipua.cli", "sipua.web",
        "sipua.readings", "sipua.retention", "sipua.forgetting", "sipua.database_watch",
        "sipua.call_trace", "sipua.tracing",
    ),
    "sipua.web": ("sipua.web", "sipua.http_service", "sipua.app", "sipua.cli"),
    "sipua.http_service": ("sipua.app",),
    "sipua.cli": ("sipua.cli", "sipua.__main__"),
    "sipua.drills": ("sipua.drills", "sipua.cli"),
    "sipua.app": ("sipua.cli",),
    "sipua.line": ("sipua.line", "sipua.cli", "sipua.bench"),
    "sipua.pj": (
        "sipua.pj", "sipua.app", "sipua.start_checks", "sipua.trunk_changes", "sipua.softphone", "sipua.ping",
        "sipua.checks", "sipua.bench", "sipua.drills", "sipua.cli",
    ),
    "sipua.realtime.emulator": ("sipua.realtime.emulator", "sipua.cli", "sipua.bench"),
    "matplotlib": ("sipua.bench",),  # of the extra "bench", with pesq and visqol
    "pesq": ("sipua.bench",),
    "pyarrow": ("sipua.export_file",),
    "sounddevice": ("sipua.sound.portaudio",),
    "visqol": ("sipua.bench",),
    "opentelemetry": ("sipua.otel",),
    "openai": (),  # the judge of the tests, never part of the product
    "httpx": (
        "sipua.ingest.openai",
        "sipua.tools.http", "sipua.tools.whatsapp", "sipua.checks.whatsapp", "sipua.notify",
        "sipua.openai_calls",
    ),
    "mcp": ("sipua.tools.mcp",),
    "mcp_types": ("sipua.tools.mcp",),
    "jsonschema": ("sipua.tools.schema",),
}  # fmt: skip
# Packages that may import nothing beyond this (and the standard library).
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "rtp": ("rtp", "numpy", "aiortc", "av", "pylibsrtp"),
    "storage": ("storage", "psycopg", "psycopg_pool"),
    "sipua.pj": (
        "sipua.pj", "sipua.errors", "sipua.sdp", "sipua.sdes", "sipua.sip_events", "sipua.sip_account",
        "sipua.sip_message", "sipua.admission", "sipua.info", "pjsua2",
    ),
    "sipua.realtime.emulator": (
        "sipua.realtime.emulator", "sipua.errors", "rtp", "numpy", "orjson", "pybase64", "pydantic", "starlette",
        "uvicorn", "webrtcvad", "websockets",
    ),
    "sipua.realtime": ("sipua.realtime", "sipua.errors", "websockets", "orjson", "pybase64"),
    "sipua.line": ("sipua.line", "sipua.errors", "rtp"),
}  # fmt: skip
# The emulator is a server; the client side of websockets belongs to sipua.realtime.
CLIENT_SIDE = ("websockets.asyncio.client", "websockets.client", "websockets.sync.client")
# Cores: no I/O and no clock, ``now`` is an argument.
CORES = (
    "sipua.ingest.told", "sipua.ingest.charge",
    "sipua.ingest.ids", "sipua.ingest.health", "sipua.twilio.signature", "sipua.twilio.twiml",
    "sipua.twilio.calls", "sipua.actions", "sipua.keys", "sipua.info", "sipua.consent", "sipua.recording",
    "sipua.web.dashboard_board", "sipua.web.dashboard_view",
    "sipua.catalogue_file", "sipua.memory", "sipua.whatsapp", "sipua.tool_round", "sipua.last_words",
    "sipua.remote_tools",
    "sipua.signed_webhook", "sipua.openai_webhook", "sipua.sideband_speech",
    "sipua.transfer", "sipua.bridge", "sipua.opening", "sipua.our_lines",
    "sipua.conversation", "sipua.said", "sipua.transcript", "sipua.call_state", "sipua.outcome", "sipua.sdp",
    "sipua.sip_message",
    "sipua.drills.responder", "sipua.drills.script", "sipua.drills.findings", "sipua.drills.mutations",
    "sipua.sip_events", "sipua.sip_account", "sipua.digest", "sipua.language_choice", "sipua.realtime.hints",
    "sipua.realtime.names", "sipua.call_language", "sipua.instructions", "sipua.spend", "sipua.realtime.prices",
    "sipua.realtime.continuity", "sipua.realtime.floor", "sipua.realtime.history", "sipua.realtime.uplink",
    "sipua.alerts.incident", "sipua.alerts.message", "sipua.days", "sipua.currency",
    "sipua.call_trace", "sipua.redaction", "sipua.reflexive", "sipua.ports", "sipua.media_figures", "sipua.course",
    "sipua.sound.ring", "sipua.sound.drift", "sipua.sound.talker", "sipua.audio", "sipua.realtime.protocol",
    "sipua.realtime.parse", "sipua.sdes",
    "sipua.realtime.events", "sipua.realtime.commands", "sipua.realtime.config", "sipua.realtime.severity",
    "sipua.realtime.emulator.core", "rtp.playout", "rtp.reorder", "rtp.packet", "rtp.dtmf", "rtp.stream", "rtp.sender",
    "rtp.liveness", "rtp.receiver",
    "rtp.rtcp", "rtp.source", "rtp.statistics", "rtp.codec", "rtp.g711", "rtp.conceal", "rtp.events",
    "rtp.srtp", "rtp.arrival", "rtp.patience", "rtp.silence", "rtp.uplink",
    "rtp.impairment", "rtp.quality", "rtp.tones", "rtp.inband", "rtp.comfort_noise", "rtp.g722", "rtp.opus",
    "rtp.linear", "rtp.timeline", "rtp.relay",
)  # fmt: skip
WORLD = ("time", "asyncio", "socket", "threading", "selectors", "ssl", "subprocess", "logging", "os")
# Who may read the environment: the settings; where the conf folder is; what a child process inherits; and, in the
# storage package, which knows no settings of ours, where a user's state and sockets live.
ENVIRONMENT = (
    "sipua.settings", "sipua.settings_file", "sipua.config_file", "sipua.cli.command", "sipua.demo", "sipua.children",
    "storage.embedded", "storage.cluster", "storage.programs", "sipua.systemd",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a module imports; ``of_types`` if only for a type checker."""

    module: str
    target: str
    line: int
    of_types: bool = False

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


@dataclass(frozen=True, slots=True)
class Source:
    module: str
    text: str
    is_package: bool = False

    @property
    def package(self) -> str:
        return self.module if self.is_package else self.module.rpartition(".")[0]


Rule = Callable[[Sequence[Import]], list[str]]


@functools.cache
def sources() -> tuple[Source, ...]:
    """Every module of ours."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            found.append(Source(".".join(parts[:-1] if is_package else parts), path.read_text(), is_package))
    return tuple(found)


@functools.cache
def imports(source: Source, known: frozenset[str]) -> list[Import]:
    """What it imports, relative names resolved; ``from a import b`` is a.b where that is one of ``known``."""
    tree = ast.parse(source.text)
    of_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    found: list[Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = source.package.split(".")[: -(node.level - 1) or None] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names = [full if (full := f"{origin}.{alias.name}") in known else origin for alias in node.names]
        else:
            continue
        found += [
            Import(source.module, name, node.lineno, id(node) in of_types) for name in dict.fromkeys(names)
        ]
    return found


def all_imports(modules: Sequence[Source]) -> list[Import]:
    known = frozenset(each.module for each in modules)
    return [each for source in modules for each in imports(source, known)]


def below(module: str, packages: Iterable[str]) -> bool:
    """Whether it is one of ``packages`` or lies in one."""
    return any(module == package or module.startswith(package + ".") for package in packages)


# ---- the rules: each returns its breaches as text --------------------------------------------------------


def wrong_importers(found: Sequence[Import]) -> list[str]:
    return [
        f"{each}: only {', '.join(owners) or 'tests'} may"
        for each in found
        for name, owners in IMPORTERS.items()
        if below(each.target, [name]) and not below(each.module, owners) and not each.of_types
    ]


def wrong_targets(found: Sequence[Import]) -> list[str]:
    breaches = []
    for each in found:
        # the emulator lies in sipua.realtime and has a rule of its own: the longest name counts
        package = max((name for name in MAY_IMPORT if below(each.module, [name])), key=len, default=None)
        if package is None or each.of_types or each.target.split(".")[0] in sys.stdlib_module_names:
            continue
        outside = below(each.target, ["sipua.realtime.emulator"]) and package == "sipua.realtime"
        if outside or not below(each.target, MAY_IMPORT[package]):
            breaches.append(f"{each}: {package} may import {', '.join(MAY_IMPORT[package])}")
    return breaches


def clients_in_the_emulator(found: Sequence[Import]) -> list[str]:
    emulator = ("sipua.realtime.emulator",)
    return [str(each) for each in found if below(each.module, emulator) and below(each.target, CLIENT_SIDE)]


def shared_internals(found: Sequence[Import]) -> list[str]:
    """An internal of aiortc that two modules of rtp import."""
    users: dict[str, set[str]] = {}
    for each in found:
        if below(each.target, ["aiortc"]) and below(each.module, ["rtp"]):
            users.setdefault(each.target, set()).add(each.module)
    return [f"{name} is imported by {', '.join(sorted(by))}" for name, by in users.items() if len(by) > 1]


def worldly_cores(found: Sequence[Import]) -> list[str]:
    return [
        f"{each}: a core has no I/O and no clock"
        for each in found
        if each.module in CORES and below(each.target, WORLD) and not each.of_types
    ]


def cycles(found: Sequence[Import]) -> list[str]:
    known = {each.module for each in found}
    graph: Mapping[str, set[str]] = {module: set() for module in known}
    for each in found:
        if each.target in known and each.target != each.module and not each.of_types:
            graph[each.module].add(each.target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [" → ".join(reversed(error.args[1]))]
    return []


def environment_readers(modules: Sequence[Source]) -> list[str]:
    breaches = []
    for source in modules:
        for node in ast.walk(ast.parse(source.text)):
            name = (
                node.attr
                if isinstance(node, ast.Attribute)
                else node.id
                if isinstance(node, ast.Name)
                else ""
            )
            if name in ("environ", "getenv", "environb") and not below(source.module, ENVIRONMENT):
                breaches.append(f"{source.module}:{getattr(node, 'lineno', 0)} reads the environment")
    return breaches


RULES = (
    wrong_importers, wrong_targets, clients_in_the_emulator, shared_internals, worldly_cores, cycles,
)  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_layers_are_kept(rule: Rule) -> None:
    assert rule(all_imports(sources())) == []


def test_only_the_settings_read_the_environment() -> None:
    assert environment_readers(sources()) == []


def test_every_named_core_exists() -> None:
    assert set(CORES) <= {source.module for source in sources()}


def test_no_rule_is_without_an_object() -> None:
    """A module that was renamed must not leave its permission behind."""
    modules = [source.module for source in sources()]
    allowed = {name for owners in IMPORTERS.values() for name in owners} | {*MAY_IMPORT, *ENVIRONMENT}
    assert [name for name in sorted(allowed) if not any(below(each, [name]) for each in modules)] == []


BREACHES = [
    pytest.param(wrong_importers, "sipua.call", "import pjsua2", id="pjsua2 outside its thread"),
    pytest.param(wrong_importers, "sipua.call", "from websockets.asyncio import client", id="websockets"),
    pytest.param(wrong_importers, "sipua.media", "import aiortc.rtp", id="aiortc outside rtp"),
    pytest.param(wrong_importers, "sipua.call", "from storage.facts import Event", id="storage in a call"),
    pytest.param(wrong_importers, "sipua.call", "from sipua.cli.command import run", id="the CLI imported"),
    pytest.param(wrong_importers, "sipua.call", "def f():\n    import pjsua2", id="hidden in a function"),
    pytest.param(wrong_importers, "sipua.call", "from . import app", id="relative, from the package"),
    pytest.param(wrong_targets, "storage.writer", "from sipua import errors", id="storage imports sipua"),
    pytest.param(wrong_targets, "storage.locks", "import fasteners", id="storage imports a library"),
    pytest.param(wrong_targets, "rtp.stream", "from sipua.errors import SipuaError", id="rtp imports sipua"),
    pytest.param(wrong_targets, "sipua.pj.endpoint", "from sipua.call import InboundCall", id="pj imports up"),
    pytest.param(wrong_targets, "sipua.realtime.client", "import sipua.conversation", id="realtime imports up"),
    pytest.param(
        wrong_targets, "sipua.realtime.client", "from sipua.realtime.emulator import core", id="client imports emulator"
    ),
    pytest.param(
        wrong_targets, "sipua.realtime.emulator.core", "from .. import protocol", id="emulator shares the protocol"
    ),
    pytest.param(
        clients_in_the_emulator, "sipua.realtime.emulator.server", "from websockets.asyncio.client import connect",
        id="a client in the emulator",
    ),
    pytest.param(worldly_cores, "sipua.transcript", "from time import monotonic", id="a core with a clock"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "module", "text"), BREACHES)
def test_a_breach_is_found(rule: Rule, module: str, text: str) -> None:
    [*others] = (source for source in sources() if source.module != module)
    assert rule(all_imports([*others, Source(module, text)])) != []


def test_a_shared_internal_and_a_cycle_are_found() -> None:
    shared = [Source("rtp.a", "from aiortc.rtp import X"), Source("rtp.b", "from aiortc.rtp import Y")]
    assert shared_internals(all_imports(shared)) == ["aiortc.rtp is imported by rtp.a, rtp.b"]
    circle = [Source("sipua.a", "from sipua import b"), Source("sipua.b", "import sipua.a")]
    assert cycles(all_imports(circle)) != []
    types = [Source("sipua.a", "if TYPE_CHECKING:\n    from sipua.b import B"), circle[1]]
    assert cycles(all_imports(types)) == []


@pytest.mark.parametrize(
    "text", ["import os\nos.environ['X']", "from os import getenv\ngetenv('X')", "import os\nos.getenv('X')"]
)
def test_a_reader_of_the_environment_is_found(text: str) -> None:
    assert environment_readers([Source("sipua.call", text)]) != []
