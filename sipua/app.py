"""The composition root: builds one worker out of the parts, runs it until it is told to stop, takes it down in order.

``serve`` is the one function that several workers of a machine could call, each with its own identity and ports;
nothing is module-global. Order of starting: control, database, ledger, HTTP (not ready yet), media, SIP; of stopping:
new calls refused, calls ended, SIP, HTTP, ledger flushed, database, control.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import storage.errors as store
from rtp.codec import CODECS
from rtp.pacer import Pacer
from rtp.ports import PortAllocator
from sipua import __version__
from sipua.accounts import accounts_of, own_listener, place_of, secrets_of
from sipua.admission import Admission
from sipua.call import CallServices
from sipua.call_voice import VoiceService
from sipua.clock import SystemClock
from sipua.control import SOCKET_NAME, ControlServer
from sipua.errors import ConfigError, LocalError, SipuaError, StoreError
from sipua.feed import Feed
from sipua.http import bind_tcp, build_app, running
from sipua.ledger import Ledger
from sipua.metrics import Metrics
from sipua.names import Names
from sipua.occupancy import Occupancy
from sipua.pj.build import max_calls
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.library import EndpointConfig
from sipua.realtime.backend import OpenAIBackend
from sipua.realtime.config import AudioFormat, SessionConfig, Transcription, TurnDetection
from sipua.realtime.endpoint import is_in_the_clear
from sipua.settings import Settings
from sipua.sole import SoleWorker
from sipua.switchboard import Switchboard
from sipua.trunk import Trunk
from sipua.trunk_files import TrunkFiles, check_fit
from storage.dsn import check_dsn, redact
from storage.embedded import EmbeddedPostgres
from storage.facts import ProcessEnded, ProcessStarted
from storage.migrate import migrate
from storage.queries import close_orphans, ping
from storage.writer import LedgerWriter

log = logging.getLogger(__name__)

FLUSH_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process this is, on its rows, logs and metrics."""

    node: str
    worker: int
    instance: UUID = field(default_factory=uuid4)

    def as_dict(self) -> dict[str, Any]:
        return {"node": self.node, "worker": self.worker, "instance": str(self.instance)}


@asynccontextmanager
async def database(settings: Settings) -> AsyncIterator[str]:
    """The DSN: DATABASE_URL if set, else the embedded server, which runs as long as somebody uses it."""
    try:
        if settings.database_url is not None:
            yield check_dsn(settings.database_url.get_secret_value())
            return
        server = EmbeddedPostgres(settings.database_dir)
        dsn = await server.astart()
        try:
            yield dsn
        finally:
            await server.astop()
    except store.StoreError as error:
        raise mapped(error) from error


def mapped(error: store.StoreError) -> SipuaError:
    """The storage package's errors in our tree: a bad DSN is the operator's to mend."""
    return (
        ConfigError(f"DATABASE_URL: {error}") if isinstance(error, store.BadDsn) else StoreError(str(error))
    )


def backend_of(settings: Settings) -> OpenAIBackend:
    """The voice service that the settings name. ConfigError without a key."""
    if settings.openai_api_key is None:
        raise ConfigError("environment OPENAI_API_KEY: not set, and realtime.api_key_file names no file")
    return OpenAIBackend(
        settings.openai_base_url,
        settings.openai_api_key.get_secret_value(),
        open_timeout_s=settings.realtime.connect_timeout_s,
    )


def session_config(settings: Settings, format: AudioFormat) -> SessionConfig:
    """What one call asks of the voice service."""
    chosen = settings.realtime
    vad = chosen.vad
    detection = (
        TurnDetection(
            kind="server_vad",
            threshold=vad.threshold,
            prefix_padding_ms=vad.prefix_padding_ms,
            silence_duration_ms=vad.silence_duration_ms,
            create_response=True,
            interrupt_response=True,
        )
        if vad.kind == "server_vad"
        else TurnDetection(
            kind="semantic_vad", eagerness=vad.eagerness, create_response=True, interrupt_response=True
        )
    )
    transcription = (
        Transcription(chosen.transcription_model, language=chosen.transcription_language or None)
        if chosen.transcription_model
        else None
    )
    return SessionConfig(
        model=chosen.model,
        instructions=chosen.instructions,
        voice=chosen.voice,
        audio_format=format,
        turn_detection=detection,
        transcription=transcription,
        noise_reduction=chosen.noise_reduction or None,
        speed=chosen.speed,
        max_output_tokens=chosen.max_output_tokens or "inf",
    )


async def serve(
    settings: Settings,
    files: TrunkFiles,
    identity: Identity,
    *,
    stop: asyncio.Event,
    ready: Callable[[Mapping[str, Any]], None],
) -> None:
    """One worker, from start to orderly end. Raises SipuaError when it cannot start or its SIP thread dies."""
    backend = backend_of(settings)
    session_config(settings, AudioFormat.PCMU)  # refuse a bad combination now, not at the first call
    check_fit(files.trunks)
    place = place_of(settings.sip)
    accounts = accounts_of(files.trunks, place, secrets_of(files.trunks))
    _check_rtp_bind(settings.rtp_bind)
    _check_sip_port(str(settings.sip.bind), settings.sip.port)
    if is_in_the_clear(settings.openai_base_url):
        log.warning("OPENAI_BASE_URL: the key and the callers' voices cross the network unencrypted")
    failure: list[str] = []

    def failed(message: str) -> None:
        failure.append(message)
        stop.set()

    async with AsyncExitStack() as stack:
        http_socket = bind_tcp(str(settings.http.bind), settings.http.port, "HTTP")
        stack.callback(http_socket.close)
        feed = Feed()
        line: dict[str, Any] = {"event": "starting", "pid": os.getpid()}
        switchboard: Switchboard | None = None

        async def status(_: Mapping[str, Any]) -> Mapping[str, Any]:
            calls = switchboard.calls_up if switchboard is not None else 0
            return {**line, "calls": calls, "tasks": len(asyncio.all_tasks()), "trunks": files.status()}

        # first of all what tells that another process already works here: it must not have its calls closed
        control = ControlServer(settings.state_path / SOCKET_NAME, feed, {"status": status})
        await control.start()
        stack.push_async_callback(control.stop)
        metrics = Metrics(
            node=identity.node, worker=identity.worker, instance=str(identity.instance), version=__version__
        )
        dsn = await stack.enter_async_context(database(settings))
        sole = SoleWorker(identity.node, identity.worker, redact(dsn))
        stack.callback(sole.release)
        writer = await stack.enter_async_context(_ledger_writer(dsn, settings, identity))
        ports = PortAllocator(settings.rtp.port_min, settings.rtp.port_max)
        admission = Admission(files.trunks, ports, settings.rtp_bind, Occupancy())
        switchboard = Switchboard(Ledger(writer, feed, identity.as_dict()), admission, failed)
        own = own_listener(accounts, place)
        names = Names("AAAA" if ":" in place.bind else "A", files.trunks)
        endpoint = SipEndpoint(
            EndpointConfig(
                bind=str(settings.sip.bind),
                port=settings.sip.port,
                codecs=tuple(
                    CODECS
                ),  # pjsua's list is per process; each trunk has its own, after SIGHUP another
                contact_user=settings.sip.contact_user,
                log_file=str(settings.state_path / "pjsip.log") if settings.sip.log_level else "",
                log_level=settings.sip.log_level,
                public_address=own.public_address,
                dscp=own.dscp,
            ),
            admission,
            switchboard.on_sip_event,
            admission.select,
            look_up=names.find,
        )
        pacer = Pacer()
        pacer.start()
        stack.callback(pacer.stop)
        switchboard.services = CallServices(
            legs=endpoint,
            voice=VoiceService(
                backend=backend,
                session_config=lambda format: session_config(settings, format),
                greeting=settings.realtime.greeting,
                audio=settings.realtime.audio,
                open_timeout_s=settings.realtime.connect_timeout_s,
            ),
            pacer=pacer,
            ports=ports,
            metrics=metrics,
            clock=SystemClock(),
        )

        async def database_ready() -> str:
            try:
                await ping(dsn)
            except store.StoreError as error:
                return str(error)
            return ""

        async def sip_ready() -> str:
            if failure:
                return failure[0]
            return "draining" if admission.draining.is_set() else "" if "sip" in line else "starting"

        app = build_app(
            metrics, {"database": database_ready, "sip": sip_ready}, lambda: _refresh(metrics, pacer, writer)
        )
        http_host, http_port = await stack.enter_async_context(running(app, http_socket))
        sip_host, sip_port = await endpoint.start()
        stack.push_async_callback(endpoint.stop)
        await endpoint.set_accounts(accounts)
        admission.occupancy.open(max_calls())
        stack.push_async_callback(switchboard.end_all)
        stack.callback(admission.draining.set)
        line |= {
            "event": "ready",
            "sip": join_address(sip_host, sip_port),
            "http": join_address(http_host, http_port),
            "database": redact(dsn),
        }

        async def apply(trunks: Sequence[Trunk]) -> None:
            await endpoint.set_accounts(accounts_of(trunks, place, secrets_of(trunks)))
            try:
                admission.replace(trunks)
            except SipuaError:
                await endpoint.set_accounts(accounts_of(files.trunks, place, secrets_of(files.trunks)))
                raise
            names.replace(trunks)

        following = asyncio.create_task(files.follow(apply), name="trunk-files")
        stack.callback(following.cancel)
        ready(line)
        await stop.wait()
        log.info("stopping: %d calls up", switchboard.calls_up)
    if failure:
        raise LocalError(f"the SIP thread died: {failure[0]}")


@asynccontextmanager
async def _ledger_writer(dsn: str, settings: Settings, identity: Identity) -> AsyncIterator[LedgerWriter]:
    """The database brought up to date, rows of a former run of this worker closed, and the writer running."""
    try:
        report = await migrate(dsn)
        if report.applied:
            log.info("migrations applied: %s", ", ".join(report.applied))
        closed = await close_orphans(
            dsn, node=identity.node, worker=identity.worker, instance=identity.instance, now=datetime.now(UTC)
        )
    except store.StoreError as error:
        raise mapped(error) from error
    if closed:
        log.warning(
            "%d calls of a former run of %s/%d were closed", len(closed), identity.node, identity.worker
        )
    writer = LedgerWriter(dsn, queue_limit=settings.database.queue_limit)
    writer.start()
    now = datetime.now(UTC)
    writer.put(
        (ProcessStarted(identity.instance, identity.node, identity.worker, now, os.getpid(), __version__),)
    )
    try:
        yield writer
    finally:
        writer.put((ProcessEnded(identity.instance, datetime.now(UTC)),))
        if not await writer.close(FLUSH_TIMEOUT_S):
            log.error("the ledger could not be written within %g s of the end", FLUSH_TIMEOUT_S)


def join_address(host: str, port: int) -> str:
    """host:port as a URI has it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
    """Before the database is touched: a start that cannot succeed should leave nothing behind."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            raise LocalError(
                f"SIP cannot listen on udp {join_address(address, port)}: {error.strerror}"
            ) from None


def _refresh(metrics: Metrics, pacer: Pacer, writer: LedgerWriter) -> None:
    """Counters that are kept where they arise, copied when somebody asks."""
    stats = writer.stats
    metrics.ledger_queued.set(stats.queued)
    metrics.ledger_written.set(stats.written)
    metrics.ledger_dropped.set(stats.dropped + stats.poisoned)
    metrics.pacer_late_max.set(pacer.lateness.max_ms / 1000)
    metrics.pacer_ticks_skipped.set(pacer.skipped)
