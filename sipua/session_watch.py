"""What becomes of a call's voice sessions: rows of the ledger, metrics, and a word for the caller who waits."""

from __future__ import annotations

import logging

from sipua.call_language import CallLanguage
from sipua.errors import RealtimeError
from sipua.metrics import Metrics
from sipua.ports import Announcements, CallRecord, Clock, SessionOpening
from sipua.realtime.backend import VoiceSession

log = logging.getLogger(__name__)


class SessionWatch:
    """``sipua.voice_link.Observer`` of one call."""

    def __init__(
        self,
        record: CallRecord,
        metrics: Metrics,
        clock: Clock,
        language: CallLanguage,
        announcer: Announcements,
    ) -> None:
        self._record = record
        self._metrics = metrics
        self._clock = clock
        self._language = language
        self._announcer = announcer

    def opened(self, session: VoiceSession, why: str, connect_s: float) -> None:
        self._language.opened(session.config)
        self._metrics.session_opened(session.counters, why, connect_s)
        model = str(session.echoed.get("model") or session.config.model)
        opening = SessionOpening(session.session_id, model, session.echoed, why, connect_s)
        self._record.session_opened(self._clock.now(), opening)

    def ended(self, session: VoiceSession, *, failed: bool) -> None:
        self._metrics.session_ended(session.counters)
        self._record.session_ended(self._clock.now(), session.session_id, failed=failed)

    def fault(self, error: RealtimeError) -> None:
        self._metrics.realtime_errors.labels(error.reason).inc()
        log.warning("call=%s voice session: %s", self._record.id, error)
        self._record.error(self._clock.now(), error.reason, str(error))
        if not error.retryable:
            self._metrics.realtime_alerts.labels(error.reason).inc()

    def outage(self, seconds: float) -> None:
        self._metrics.realtime_outage_seconds.observe(seconds)

    def answered(self, item_id: str, seconds: float) -> None:
        self._metrics.turn_seconds.observe(seconds)
        self._record.answered_caller(self._clock.now(), item_id, seconds)

    def comfort(self) -> None:
        self._announcer.say("please_hold")
