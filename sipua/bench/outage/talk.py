"""What the voice service has the callers say: utterances with numbers, so many a second."""

from __future__ import annotations

import asyncio
import time

from sipua.bench.service import BenchSession

ROWS = 3  # of an utterance: the item's event, the transcript, the transcript's event
WORDS = "Muraho, ndashaka moto kuri Kimironko saa tatu n'igice."


class Talk:
    """One caller's. ``said``: the number of the last utterance that was sent whole."""

    def __init__(self, name: str, session: BenchSession, rows_per_s: float) -> None:
        self.name = name
        self.said = 0
        self._session = session
        self._every_s = ROWS / rows_per_s
        self._task = asyncio.create_task(self._talk(), name=f"talk {name}")

    async def stop(self) -> None:
        """After what is being said."""
        self._every_s = float("inf")
        await self._task

    def cut(self) -> None:
        """In the middle of it: the agent is gone."""
        self._task.cancel()

    async def _talk(self) -> None:
        due = time.monotonic()
        while self._every_s < float("inf"):
            await self._say(self.said + 1)
            self.said += 1
            due = max(due + self._every_s, time.monotonic() - self._every_s)
            await asyncio.sleep(max(0.0, min(1.0, due - time.monotonic())))

    async def _say(self, number: int) -> None:
        item = {
            "id": f"{self.name}_{number}", "object": "realtime.item", "type": "message", "role": "user",
            "status": "completed", "content": [{"type": "input_audio", "transcript": None}],
        }  # fmt: skip
        await self._session.send({"type": "conversation.item.added", "previous_item_id": None, "item": item})
        await self._session.send(
            {
                "type": "conversation.item.input_audio_transcription.completed",
                "item_id": item["id"],
                "content_index": 0,
                "transcript": f"{self.name} {number} {WORDS}",
                "usage": {"type": "duration", "seconds": 1},
            }
        )
