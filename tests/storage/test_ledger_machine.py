"""Any order of facts, faults and kills leaves the rows that the same facts leave without any of them."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from psycopg import conninfo

from storage.facts import CallChanged, CallCreated, CallEnded, Event, Transcript
from storage.spool import Spool
from storage.spool_folder import adopt
from storage.words import STATUSES
from storage.writer import LedgerWriter
from tests.storage.rows import rows
from tests.waiting import eventually

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CALLS = 2
SKIPPED = "'{id,call_id,created_at,updated_at}'::text[]"


def at(step: int) -> datetime:
    return T0 + timedelta(seconds=step)


class Ledger(RuleBasedStateMachine):
    """Two ledgers of the same facts: one suffers, the other (other ids) does not."""

    database = ""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.spools = Path(tempfile.mkdtemp(prefix="sipua-spool-"))
        self.calls = [(uuid4(), uuid4()) for _ in range(CALLS)]
        self.step = 0
        self.gate: psycopg.Connection[Any] | None = None
        self.kills = 0
        self.at_peace = self.run(self.started(None))
        self.suffering = self.run(self.started(self.spools))
        for number in range(CALLS):
            self.put(number, CallCreated(UUID(int=0), "inbound", started_at=T0))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    async def started(self, spools: Path | None) -> LedgerWriter:
        instance = uuid4()
        ledger = LedgerWriter(
            self.database, batch_ms=1, batch_rows=7, queue_limit=10**6 if spools is None else 100, instance=instance,
            write_timeout_s=2, spool=Spool(spools, instance, max_bytes=2**22, segment_bytes=500) if spools else None,
            adopted=adopt(spools).spools if spools else (),
        )  # fmt: skip
        ledger.start()
        return ledger

    def put(self, number: int, fact: Any) -> None:
        self.step += 1

        async def both() -> None:
            for ledger, call in zip((self.suffering, self.at_peace), self.calls[number], strict=True):
                own: dict[str, Any] = {"id": call} if isinstance(fact, CallCreated) else {"call_id": call}
                if isinstance(fact, Event | Transcript):
                    own["id"] = uuid4()
                ledger.put((replace(fact, **own),))

        self.run(both())

    @rule(
        number=st.integers(0, CALLS - 1),
        status=st.sampled_from(STATUSES),
        outcome=st.none() | st.sampled_from("ab"),
    )
    def changed(self, number: int, status: Any, outcome: str | None) -> None:
        self.put(
            number, CallChanged(UUID(int=0), at(self.step), status, outcome, {"last": self.step, status: 1})
        )

    @rule(number=st.integers(0, CALLS - 1), status=st.sampled_from(STATUSES[3:]))
    def ended(self, number: int, status: Any) -> None:
        self.put(number, CallEnded(UUID(int=0), at(self.step), self.step, status, status))

    @rule(number=st.integers(0, CALLS - 1), many=st.integers(1, 60))
    def happened(self, number: int, many: int) -> None:
        for _ in range(many):
            self.put(number, Event(UUID(int=0), UUID(int=0), "error", at(self.step), {"n": self.step}))

    @rule(number=st.integers(0, CALLS - 1))
    def said(self, number: int) -> None:
        self.put(number, Transcript(UUID(int=0), UUID(int=0), self.step, "user", "x", t=at(self.step)))

    @rule()
    def time_goes_by(self) -> None:
        self.run(asyncio.sleep(0.02))

    @rule()
    def connections_are_cut(self) -> None:
        name = conninfo.conninfo_to_dict(self.database)["dbname"]
        rows(
            self.database,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}' "
            "AND application_name = 'sipua-ledger'",
        )
        self.run(asyncio.sleep(0.01))

    @rule()
    def the_database_hangs_or_goes_on(self) -> None:
        if self.gate is None:
            self.gate = psycopg.connect(self.database)
            self.gate.execute("LOCK TABLE public.voice_calls IN EXCLUSIVE MODE")
        else:
            self.opened()

    @rule()
    def killed(self) -> None:
        """The spool as it stands goes on; the writer of before may still get a batch through, as a backend may."""
        before, self.kills = self.suffering, self.kills + 1
        spool = before._spool
        assert spool is not None
        eventually(lambda: spool.backlog_facts == 0, "it is on disk, or was in the database first")
        copy = self.spools.with_name(f"{self.spools.name}-{self.kills}")
        shutil.copytree(self.spools, copy)
        (copy / spool.folder.name / "lock").touch()
        self.run(before.close(0))
        shutil.rmtree(self.spools, ignore_errors=True)
        self.spools = copy
        self.suffering = self.run(self.started(copy))

    def opened(self) -> None:
        if self.gate is not None:
            self.gate.close()
            self.gate = None

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        self.opened()
        try:
            assert self.run(self.at_peace.flush(30))
            self.run(asyncio.wait_for(self.suffering.recovered.wait(), 30))
            assert self.run(self.suffering.flush(30))
            assert self.suffering.stats.dropped == self.suffering.stats.poisoned == 0
            for suffered, peaceful in self.calls:
                assert self.seen(suffered) == self.seen(peaceful)
        finally:
            self.run(self.at_peace.close(0))
            self.run(self.suffering.close(0))
            self.runner.close()
            shutil.rmtree(self.spools, ignore_errors=True)

    def seen(self, call: UUID) -> list[Any]:
        return [
            [
                row["r"]
                for row in rows(self.database, f"SELECT to_jsonb(each) - {SKIPPED} AS r {what} ORDER BY 1")
            ]
            for what in (
                f"FROM voice_calls AS each WHERE id = '{call}'",
                f"FROM voice_events AS each WHERE call_id = '{call}'",
                f"FROM transcripts AS each WHERE call_id = '{call}'",
            )
        ]


def test_whatever_happens_the_rows_are_the_same(database: str) -> None:
    class Here(Ledger):
        pass

    Here.database = database
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
