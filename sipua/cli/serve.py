"""``sipua serve``: the agent."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Mapping
from typing import Any

from sipua import app
from sipua.cli.command import Conf, Json, conf_dir, print_json, run, settings_of
from sipua.identity import Identity
from sipua.log import configure_logging
from sipua.systemd import Systemd
from sipua.texts import TextFiles
from sipua.tools.kits import ToolFolder
from sipua.trunk_files import TrunkFiles
from sipua.web.tokens import token_file

SWITCH_INTERVAL_S = 0.0005


def serve(conf: Conf = None, json: Json = False) -> None:
    """Answer calls until SIGTERM or SIGINT. Prints one JSON line when ready. SIGHUP: read trunk files, languages,
    instructions, tools and tokens again."""
    del json  # the ready line is JSON in any case
    settings = settings_of(conf)
    files = TrunkFiles(conf_dir(conf))
    texts = TextFiles(conf_dir(conf), [trunk.name for trunk in files.trunks])
    tool_folder = ToolFolder(conf_dir(conf))
    tokens = token_file(settings.http.tokens_file)
    identity = Identity(settings.node, settings.worker)
    supervisor = Systemd.of_process()
    log = settings.log
    configure_logging(log.level, log.format, identity.as_dict(), secrets=settings.secrets())

    def ready(line: Mapping[str, Any]) -> None:
        # what lives now lives as long as the process: a full collection in a call would stall it 58 ms (measured)
        gc.collect()
        gc.freeze()
        # another thread may hold the interpreter so long each time the loop wants it back, which it does after every
        # packet: with Python's 5 ms a backlog that is read in a thread made gaps of 80 ms and more (measured)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        print_json(line)
        supervisor.tell(READY="1", STATUS=f"SIP {line['sip']}, HTTP {line['http']}")

    def read_again() -> None:
        files.asked.set()
        texts.asked.set()
        tool_folder.asked.set()
        if tokens is not None:
            tokens.asked.set()

    async def work(stop: asyncio.Event) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, read_again)
        beating = asyncio.create_task(supervisor.beat(stop), name="systemd")
        try:
            await app.serve(
                settings,
                files,
                texts,
                identity,
                stop=stop,
                ready=ready,
                tool_folder=tool_folder,
                tokens=tokens,
            )
        finally:
            beating.cancel()

    run(work)
