"""The composition root: builds one worker out of the parts, runs it until it is told to stop, takes it down in order.

``serve`` is the one function that several workers of a machine could call, each with its own identity and ports;
nothing is module-global. Order of starting: control, database, ledger, HTTP (not ready yet), media, SIP, trunks; of
stopping: new calls refused, calls ended, bindings taken back, SIP, HTTP, ledger flushed, database, control.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from rtp.codec import CODECS
from rtp.pacer import Pacer
from rtp.ports import PortAllocator
from sipua import __version__
from sipua.accounts import accounts_of, place_of, secrets_of
from sipua.admission import Admission
from sipua.agent_commands import AgentCommands
from sipua.alerts.message import Sender
from sipua.alerts.state_file import FILE_NAME as ALERTS_FILE
from sipua.alerts.watched import Watched, alerting
from sipua.call_screening import screening_policy
from sipua.call_services import CallServices
from sipua.calls_up import AllCalls
from sipua.checks.expiry import Expiry
from sipua.clock import SystemClock
from sipua.control import SOCKET_NAME, ControlServer
from sipua.currency import cost_text
from sipua.database import (
    ledger_waits,
    ledger_writer,
    open_database,
    spent_today,
    spool_unready,
    unready,
    untold_callbacks,
)
from sipua.days import day_of
from sipua.desk import Desk
from sipua.desk_service import callback_notifier
from sipua.dial_service import DialService, dial_rules
from sipua.dialler import Dialler
from sipua.errors import LocalError
from sipua.feed import Feed
from sipua.fleet import Fleet, Surroundings
from sipua.http import bind_tcp
from sipua.http_service import Process, http_service
from sipua.identity import Identity
from sipua.keys import KeyRules
from sipua.ledger import Ledger
from sipua.loop_lag import watch_loop
from sipua.media import MediaRules
from sipua.media_ports import MediaPorts
from sipua.metrics import Metrics
from sipua.names import Names
from sipua.occupancy import Occupancy
from sipua.openai_left import left_calls
from sipua.openai_service import openai_line
from sipua.own_address import OwnAddress
from sipua.pj.build import max_calls, slots_taken
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.startup import EndpointConfig
from sipua.ports import Clock
from sipua.readings import Parts, readings
from sipua.recording_service import consent_policy, recording_calls
from sipua.resolve import resolve_trunks
from sipua.retention import keep_young
from sipua.settings import Settings
from sipua.sip_account import Listener
from sipua.sip_events import SipEvent
from sipua.sole import SoleWorker
from sipua.spend import Spend
from sipua.start_checks import check_texts, checked, join_address, shown_until, warn
from sipua.switchboard import Switchboard
from sipua.talk_service import platform_catalogue, talk_tools, voice_service
from sipua.tasks import tell_of_a_bug
from sipua.texts import TextFiles
from sipua.tools.kits import ToolFolder
from sipua.tracing import traced
from sipua.trunk_changes import TrunkChanges
from sipua.trunk_files import TrunkFiles
from sipua.trunk_ledger import TrunkLedger
from sipua.trunks.health import Health
from sipua.voice_settings import backend_of
from sipua.voice_standing import WatchedBackend
from sipua.web.tokens import TokenFile
from storage.dsn import redact
from storage.writer import LedgerWriter

log = logging.getLogger(__name__)


async def serve(
    settings: Settings,
    files: TrunkFiles,
    texts: TextFiles,
    identity: Identity,
    *,
    stop: asyncio.Event,
    ready: Callable[[Mapping[str, Any]], None],
    tool_folder: ToolFolder,
    tokens: TokenFile | None = None,
) -> None:
    """One worker, from start to orderly end. Raises SipuaError when it cannot start or its SIP thread dies."""
    backend = backend_of(settings)
    place = place_of(settings.sip)
    own = checked(settings, texts.texts, files.trunks, place)
    texts.check = lambda read: check_texts(settings, read)
    warn(settings, texts.texts)
    failure: list[str] = []

    def failed(message: str) -> None:
        failure.append(message)
        stop.set()

    async with AsyncExitStack() as stack:
        http_socket = bind_tcp(str(settings.http.bind), settings.http.port, "HTTP")
        stack.callback(http_socket.close)
        feed = Feed()
        line: dict[str, Any] = {"event": "starting", "pid": os.getpid()}
        commands = AgentCommands(line, files)
        # first of all what tells that another process already works here: it must not have its calls closed
        control = ControlServer(settings.state_path / SOCKET_NAME, feed, commands.handlers())
        await control.start()
        stack.push_async_callback(control.stop)
        metrics = Metrics(
            node=identity.node, worker=identity.worker, instance=str(identity.instance), version=__version__
        )
        dsn = await stack.enter_async_context(open_database(settings))
        sole = SoleWorker(identity.node, identity.worker, redact(dsn))
        stack.callback(sole.release)
        left = await stack.enter_async_context(left_calls(backend))
        writer = await stack.enter_async_context(ledger_writer(dsn, settings, identity, left.take))
        commands.held = lambda: writer.gate.why
        own_address = OwnAddress(files.trunks, str(settings.sip.bind), settings.sip.stun_server)
        ports = MediaPorts(
            PortAllocator(settings.rtp.port_min, settings.rtp.port_max, quiet_s=settings.rtp.port_quiet_s),
            settings.rtp_bind,
            own_address.address_of,
        )
        watched = await stack.enter_async_context(traced(writer, settings, identity, metrics, SystemClock()))
        ledger = Ledger(watched, feed, identity.as_dict(), settings.ledger.project_id)
        recorder = await stack.enter_async_context(recording_calls(settings, ledger, metrics, SystemClock()))
        clock, rng, occupancy = SystemClock(), random.Random(), Occupancy()
        admission = Admission(files.trunks, ports, occupancy)
        dialler = Dialler(Health(rng), occupancy, ports, rng, clock)
        fleet = Fleet(
            dialler,
            Surroundings(
                clock=clock,
                rng=rng,
                ledger=TrunkLedger(writer, identity.as_dict()),
                alarm=lambda trunk, reason: metrics.trunk_alerts.labels(trunk, reason).inc(),
                accounts_of=lambda trunks: accounts_of(
                    trunks, place, secrets_of(trunks), own_address.address_of
                ),
                resolve=lambda trunks: resolve_trunks(trunks, bind=place.bind),
            ),
        )
        switchboard = Switchboard(ledger, admission, dialler, failed)

        def on_sip_event(event: SipEvent) -> None:
            switchboard.on_sip_event(event)
            fleet.on_sip_event(event)
            own_address.on_sip_event(event)

        names = Names("AAAA" if ":" in place.bind else "A", files.trunks)
        endpoint = SipEndpoint(
            _endpoint_config(settings, own),
            admission,
            on_sip_event,
            admission.select,
            look_up=names.find,
        )
        pacer = Pacer()
        pacer.start()
        stack.callback(pacer.stop)
        consent = consent_policy(settings, recorder)
        desk = Desk(dsn, writer, settings.memory, clock, await platform_catalogue(settings, dsn))
        await stack.enter_async_context(
            callback_notifier(
                settings.callbacks, desk, metrics, clock, lambda: untold_callbacks(dsn, writer, identity)
            )
        )
        tools, webhook = await stack.enter_async_context(
            talk_tools(settings, texts, tool_folder.files, desk, clock, asks_consent=consent is not None)
        )
        spend = await spent_today(settings, dsn)
        rules = dial_rules(settings, dsn)
        standing = WatchedBackend(backend, clock)
        voice = voice_service(settings, standing, texts, tools, desk, spend, clock)
        switchboard.services = CallServices(
            legs=endpoint,
            voice=voice,
            pacer=pacer,
            ports=ports,
            media=_media_rules(settings),
            turns=settings.turns.rules(settings.realtime.vad),
            idle=settings.turns.idle,
            keys=_key_rules(settings),
            metrics=metrics,
            clock=clock,
            consent=consent,
            screening=screening_policy(settings.outbound),
            departments=lambda: texts.texts.departments,
            dialler=dialler,
            transfer=settings.transfer,
        )

        at_openai = await stack.enter_async_context(
            openai_line(
                settings.openai_webhook, backend, switchboard.services, ledger, dsn, admission.draining.is_set
            )
        )

        calls = AllCalls(switchboard, *([at_openai.line] if at_openai is not None else []))

        async def sip_ready() -> str:
            if failure:
                return failure[0]
            return "draining" if admission.draining.is_set() else "" if "sip" in line else "starting"

        parts = Parts(metrics, pacer, ports, occupancy, feed, writer, endpoint, shown_until(settings.sip))
        metrics.standing.reads(readings(parts, settings))
        checks = {
            "database": lambda: unready(dsn, writer),
            "spool": lambda: spool_unready(writer),
            "sip": sip_ready,
        }
        http = await stack.enter_async_context(
            http_service(
                settings,
                Process(
                    node=identity.node,
                    dsn=dsn,
                    files=files,
                    texts=texts,
                    ledger=ledger,
                    writer=writer,
                    calls=calls,
                    fleet=fleet,
                    backend=backend,
                    standing=standing,
                    voice=voice,
                    whatsapp=webhook,
                    at_openai=at_openai,
                    dialling=lambda: commands.dialling,
                    checks=checks,
                    metrics=metrics,
                    feed=feed,
                    clock=clock,
                ),
                tokens,
                http_socket,
            )
        )
        sip_host, sip_port = await endpoint.start()
        stack.push_async_callback(endpoint.stop)
        occupancy.open(max_calls(), slots_taken)
        stack.push_async_callback(fleet.stop)
        await fleet.start(endpoint, files.trunks)
        stack.push_async_callback(switchboard.end_all)
        if at_openai is not None:
            stack.push_async_callback(at_openai.line.end_all)
        stack.callback(admission.draining.set)
        commands.fleet, commands.calls = fleet, calls
        commands.dialling = DialService(
            switchboard, dialler, rules, lambda: texts.texts.languages, metrics, clock
        )
        line |= {
            "event": "ready",
            "sip": join_address(sip_host, sip_port),
            "http": join_address(*http.address),
            "database": redact(dsn),
        }

        changes = TrunkChanges(files, own_address, fleet, admission, names, switchboard)
        for name, work in (
            ("loop-lag", watch_loop(metrics.loop_lag_seconds.observe)),
            ("own-address", own_address.watch(fleet.addresses_of, changes.moved)),
            ("trunk-files", files.follow(changes.apply)),
            ("texts", texts.follow()),
            ("retention", keep_young(dsn, settings.retention, settings.zone, clock)),
            ("tool-files", tools.follow(tool_folder)),
            *([("tokens", tokens.follow())] if tokens is not None else []),
            *([("dashboard", http.hub.run())] if http.hub is not None else []),
        ):
            task = asyncio.create_task(work, name=name)
            task.add_done_callback(tell_of_a_bug)
            stack.callback(task.cancel)
        await stack.enter_async_context(
            alerting(
                settings.alerts,
                _watched(settings, fleet, metrics, spend, writer, clock),
                settings.state_path / ALERTS_FILE,
                Sender(identity.node, identity.worker, settings.zone),
                metrics,
                clock,
            )
        )
        if http.hub is not None:
            stack.callback(http.hub.close)
        ready(line)
        await stop.wait()
        log.info("stopping: %d calls up", calls.calls_up)
    if failure:
        raise LocalError(f"the SIP thread died: {failure[0]}")


def _watched(
    settings: Settings, fleet: Fleet, metrics: Metrics, spend: Spend, writer: LedgerWriter, clock: Clock
) -> Watched:
    """What alerts are about."""
    expiry = Expiry(settings)
    folders = {"the state": settings.state_path, "recordings": settings.recordings_path}
    if settings.spool_path is not None:
        folders["the spool"] = settings.spool_path
    return Watched(
        trunks=fleet.views,
        refused=metrics.realtime_alerts.totals,
        opened=lambda: sum(metrics.realtime_sessions.totals().values()),
        day_cap_reached=lambda: spend.reached(None, 0.0, day_of(clock.now().wall, settings.zone)) == "day",
        day_cap=cost_text(settings.spend.day_usd, settings.currency),
        folders=folders,
        database=lambda: ledger_waits(writer),
        spool=lambda: spool_unready(writer),
        lost=lambda: writer.stats.dropped + writer.stats.poisoned,
        certificates=lambda: expiry.look(fleet.trunks, clock.now().wall),
    )


def _endpoint_config(settings: Settings, own: Listener) -> EndpointConfig:
    sip = settings.sip
    return EndpointConfig(
        bind=str(sip.bind),
        port=sip.port,
        codecs=tuple(CODECS),  # pjsua's list is per process; each trunk has its own, after SIGHUP another
        contact_user=sip.contact_user,
        log_file=str(settings.state_path / "pjsip.log") if sip.log_level else "",
        log_level=sip.log_level,
        public_address=own.public_address,
        dscp=own.dscp,
        max_calls=sip.max_calls,
    )


def _media_rules(settings: Settings) -> MediaRules:
    rtp = settings.rtp
    return MediaRules(rtp.max_wait_ms, rtp.comfort_noise, rtp.hear_comfort_noise, rtp.relatch_window_s)


def _key_rules(settings: Settings) -> KeyRules:
    keys = settings.keys
    return KeyRules(keys.timeout_s, keys.end, keys.most, keys.interrupt, keys.ledger == "keys")
