"""423 to a REGISTER: pjsip asks again at once, by itself, and for ever where a registrar is never content.

A Min-Expires that grows, or one of 2**32 - 1, had it send 6,000 REGISTERs a second. This module of pjsip's looks at
responses before the transactions do and lets only so many 423s through. What is held back counts as no answer: the
transaction ends with 408 and our own back-off decides what comes next.
"""

from __future__ import annotations

import logging
import time

from sipua.pj.module import Hook, PjsipModule, description_of

log = logging.getLogger(__name__)

MOST_IN_A_SPELL = 64  # two each for 32 accounts that begin at once; of more, some wait for their back-off
QUIET_S = 10.0  # longer than a transaction waits to repeat itself (4 s), shorter than a back-off
_TOO_BRIEF = b"Response msg 423/REGISTER"  # as pjsip_rx_data_get_info writes it


class IntervalGuard:
    """Keep it until the library is destroyed. All of it runs on the pjsua2 thread."""

    def __init__(self) -> None:
        self._seen = 0
        self._last = 0.0
        self._module = PjsipModule.of(b"sipua-intervals", on_rx_response=Hook(self._is_held_back))

    def install(self) -> None:
        """After libInit."""
        if not self._module.register():
            log.error(
                "pjsip takes no module of ours: a registrar that answers 423 for ever is asked for ever"
            )

    def _is_held_back(self, response: int) -> int:
        """The hook: 1 keeps the response from everybody else. An exception cannot leave it."""
        try:
            return int(self._is_too_many(description_of(response)))
        except Exception:
            log.exception("a response was not looked at")
            return 0

    def _is_too_many(self, description: bytes) -> bool:
        if not description.startswith(_TOO_BRIEF):
            return False
        now = time.monotonic()
        self._seen = 1 if now - self._last > QUIET_S else self._seen + 1
        self._last = now
        if self._seen == MOST_IN_A_SPELL + 1:
            log.warning(
                "a registrar finds every interval too brief (423): what it says more of it is no answer"
            )
        return self._seen > MOST_IN_A_SPELL
