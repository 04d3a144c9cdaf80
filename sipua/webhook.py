"""The route ``/whatsapp`` of our HTTP server, without the server: what is answered to which request.

A webhook that is not signed, too long or no JSON changes nothing; one that is understood is answered at once, because
what it says only goes into the ledger's queue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from sipua.whatsapp import News, challenge_of, is_signed, read_webhook

log = logging.getLogger(__name__)

BODY_MAX_BYTES = 3 << 20  # the most that Meta sends
Answer = tuple[int, str]
NOT_SIGNED: Answer = 401, "not signed by the app"


class WhatsAppWebhook:
    """``on_news`` takes what was told."""

    def __init__(
        self,
        phone_number_id: str,
        secret: str,
        verify_token: str,
        on_news: Callable[[Sequence[News]], None],
        now: Callable[[], datetime],
    ) -> None:
        self._phone_number_id = phone_number_id
        self._secret = secret
        self._verify_token = verify_token
        self._on_news = on_news
        self._now = now

    def verified(self, query: Mapping[str, str]) -> Answer:
        """A GET: Meta asks whether we are the one who entered the webhook."""
        challenge = challenge_of(query, self._verify_token)
        return (403, "not the token") if challenge is None else (200, challenge[:256])

    def is_signed(self, body: bytes, signature: str) -> bool:
        """A POST, whole; from any thread."""
        if is_signed(body, signature, self._secret):
            return True
        log.warning("a webhook of WhatsApp with a wrong signature (%d bytes)", len(body))
        return False

    def told(self, body: bytes) -> Answer:
        """One that is signed."""
        try:
            news = read_webhook(body, self._phone_number_id, self._now())
        except ValueError:
            return 400, "not a webhook"
        if news:
            self._on_news(news)
        return 200, "ok"
