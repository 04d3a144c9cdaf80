"""`sipua call --mic` with the tests' own sound device: ``python -m tests.peers.mic_call URI WAV PPM HEARD [BREAKS]``.

A process of its own, as pjsua2 needs; SIGINT hangs up. Prints the call's document as one line.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import numpy as np

from rtp.wav import WavWriter, read_wav
from sipua.errors import LocalError
from sipua.phone_script import CallOptions, CallResult
from sipua.softphone import place_call
from tests.sound_device import RunningDevice


async def talk(uri: str, device: RunningDevice) -> CallResult:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    return await place_call(
        CallOptions(uri),
        stop,
        lambda entry: print(json.dumps(dict(entry)), file=sys.stderr, flush=True),
        device,
    )


def main(uri: str, wav: str, ppm: str, heard: str, breaks: str = "") -> None:
    device = RunningDevice(
        read_wav(Path(wav), 8000), ppm=float(ppm), breaks_after_s=float(breaks) if breaks else None
    )
    try:
        document = asyncio.run(talk(uri, device)).as_dict()
    except LocalError as error:
        document = {"error": str(error)}
    with WavWriter(Path(heard), 8000) as file:
        file.write(np.concatenate(device.heard))
    print(json.dumps(document | {"device_closed": device.is_closed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
