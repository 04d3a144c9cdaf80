"""Several calls of one process, one for each line on standard input: ``python -m tests.outbound.calls CONF NUMBER``.

One line of JSON per call. A process of its own, since pjsua2 allows one endpoint in each.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from rtp.ports import PortAllocator
from sipua.accounts import Place, accounts_of, secrets_of
from sipua.dialler import Dialler
from sipua.media_ports import MediaPorts
from sipua.outbound import Winner
from sipua.pj.build import max_calls, slots_taken
from sipua.pj.endpoint import SipEndpoint
from sipua.pj.startup import EndpointConfig
from sipua.resolve import resolve_trunks
from sipua.sip_events import Refusal, SipEvent
from sipua.trunk_files import load_trunks
from sipua.trunks.attempt import CallRules


async def main(conf: Path, number: str) -> None:
    trunks = load_trunks(conf)
    addresses, _ = await resolve_trunks(trunks)
    dialler: Dialler

    def deliver(event: SipEvent) -> None:
        dialler.deliver(event)

    config = EndpointConfig(bind="127.0.0.1", port=0, codecs=("PCMU",))
    endpoint = SipEndpoint(config, lambda arrival, message: Refusal(480, "", None), deliver)
    await endpoint.start()
    place = Place("127.0.0.1", 0, "sipua", has_fixed_ports=False)
    await endpoint.set_accounts(accounts_of(trunks, place, secrets_of(trunks)))
    ports = MediaPorts(PortAllocator(0, 0))
    dialler = Dialler.alone(trunks, addresses, limit=max_calls(), held=slots_taken, ports=ports)
    while await asyncio.to_thread(sys.stdin.readline):
        begun = time.monotonic()
        route = dialler.route(number)
        call = dialler.call(endpoint, route, CallRules())
        outcome = await call.dial()
        up_ms = round((time.monotonic() - begun) * 1000)
        if isinstance(outcome, Winner):
            await endpoint.hang_up(outcome.key)
            for each in outcome.sockets:
                each.close()
        call.close()
        print(
            json.dumps(
                {
                    "reason": "" if isinstance(outcome, Winner) else outcome.reason,
                    "attempts": [each.as_dict() for each in call.attempts],
                    "rejected": [each.reason for each in route.rejected],
                    "up_ms": up_ms,
                }
            ),
            flush=True,
        )
    await endpoint.stop()  # once BYEs are answered


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
