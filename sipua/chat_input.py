"""Lines of a terminal, a pipe or a file, for the loop. A thread reads them: no loop can wait for a file.

It reads only when a line is wanted, by ``os.read``: a thread that waits in a buffered file of Python's would break
the end of the process.
"""

from __future__ import annotations

import asyncio
import os
import threading

LINE_MAX = 16_384  # bytes; what is longer comes in parts
CHUNK = 4096


class LineReader:
    """To be made on the loop. ``line`` is for one reader; a cancelled one ends it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._wanted = threading.Semaphore(0)
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()  # one for each that was wanted
        threading.Thread(target=self._read, name="lines", daemon=True).start()

    async def line(self) -> str | None:
        """Without its end; None after the last."""
        self._wanted.release()
        return await self._lines.get()

    def _read(self) -> None:
        rest = b""
        while True:
            self._wanted.acquire()
            is_over = False
            while b"\n" not in rest and len(rest) < LINE_MAX and not is_over:
                chunk = self._chunk()
                rest, is_over = rest + chunk, not chunk
            line, end, rest = rest.partition(b"\n")
            if len(line) > LINE_MAX:
                line, rest = line[:LINE_MAX], line[LINE_MAX:] + end + rest
            text = None if is_over and not line else line.decode(errors="replace")
            try:
                self._loop.call_soon_threadsafe(self._lines.put_nowait, text)
            except RuntimeError:  # the loop is closed: nobody wants it any more
                return

    def _chunk(self) -> bytes:
        try:
            return os.read(self._fd, CHUNK)
        except OSError:  # a terminal that went away
            return b""
