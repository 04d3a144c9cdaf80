"""What doctor says of a trunk whose servers are really there, half there, or not what they should be."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from sipua.checks.report import Check
from sipua.checks.trunk_wire import Report, examine, places_of
from sipua.settings import Settings
from sipua.trunk import Trunk
from tests.certificates import Authority
from tests.doctor.responders import Behaviour, answering, silent, stream_responder, udp_responder
from tests.outbound.name_server import Zone, start_name_server
from tests.ports import free_port

SETTINGS = Settings()
NAME = "sip.example.test"


def trunk(**values: object) -> Trunk:
    fixed = {"schema": 1, "name": "mtn", "provider": "mtn", "options_timeout_s": 1.0}
    return Trunk.model_validate(fixed | values)


async def found(
    mine: Trunk, zone: Zone | None = None, *, settings: Settings = SETTINGS, agent_runs: bool = True
) -> tuple[dict[str, Check], Report]:
    """Checks by their last word."""
    server = await start_name_server(zone or {})
    try:
        report = await examine(
            mine, settings, agent_runs=agent_runs, nameservers=[server.address] if zone is not None else ()
        )
    finally:
        server.transport.close()
    assert all(check.todo for check in report.checks if check.status != "ok")
    return {check.name.removeprefix("trunk mtn "): check for check in report.checks}, report


# ---- names -----------------------------------------------------------------------------------------------


async def test_the_names_that_were_asked_and_their_addresses_are_told() -> None:
    async with udp_responder(answering("200 OK")) as (target, _):
        zone = {
            (NAME, "NAPTR"): [f'10 10 "S" "SIP+D2U" "" _sip._udp.{NAME}.'],
            (f"_sip._udp.{NAME}", "SRV"): [f"1 1 {target.port} edge.example.test."],
            ("edge.example.test", "A"): ["127.0.0.1"],
        }
        checks, _ = await found(trunk(domain=NAME), zone)
    assert checks["dns"].status == "ok"
    assert checks["dns"].detail == (
        f"{NAME}: 127.0.0.1:{target.port};udp (NAPTR {NAME}: 1, SRV _sip._udp.{NAME}: 1, A edge.example.test: 1)"
    )
    assert checks["options"].detail.startswith(f"127.0.0.1:{target.port};udp: 200 OK in ")


async def test_one_name_of_two_that_does_not_resolve_is_a_warning_and_both_a_failure() -> None:
    async with udp_responder(answering("200 OK")) as (target, _):
        proxies = (f"gone.example.test:{target.port}", f"static.example.test:{target.port}")
        mine = trunk(outbound_proxies=proxies, static_hosts={"static.example.test": ["127.0.0.1"]})
        checks, _ = await found(mine, {("other", "A"): ["192.0.2.1"]})
        assert (checks["dns"].status, checks["options"].status) == ("warn", "ok")
        assert "gone.example.test: DNS knows no A record" in checks["dns"].detail
        assert f"static.example.test: 127.0.0.1:{target.port};udp (from static_hosts)" in checks["dns"].detail
        assert "static_hosts" in checks["dns"].todo
        checks, _ = await found(trunk(domain="gone.example.test"), {("other", "A"): ["192.0.2.1"]})
    assert (checks["dns"].status, list(checks)) == ("fail", ["dns"])


def test_what_a_trunk_names() -> None:
    register = {
        "kind": "register",
        "registrar_uri": "sip:reg.example.test:5070",
        "aor_user": "u",
        "domain": NAME,
    }

    def places(**values: object) -> list[tuple[str, int]]:
        return [(each.host, each.port) for each in places_of(trunk(**values))]

    assert places(domain=NAME) == [(NAME, 0)]
    assert places(domain=NAME, direction="inbound") == []
    assert places(domain=NAME, outbound_proxies=["p.example.test:5080"]) == [("p.example.test", 5080)]
    assert places(**register) == [(NAME, 0), ("reg.example.test", 5070)]
    assert places(**register, outbound_proxies=["p.example.test"]) == [("p.example.test", 0)]


# ---- OPTIONS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "status", "said", "todo"),
    [
        (answering("200 OK"), "ok", "200 OK in ", ""),
        (answering("405 Method Not Allowed"), "ok", "405 Method Not Allowed in ", ""),
        (answering("503 Service Unavailable"), "fail", "503 ", "it says itself that it is not well"),
        (answering("403 Forbidden"), "fail", "403 ", "whether our address 127.0.0.1 is on its list"),
        (answering("420 Bad Extension"), "warn", "420 ", "add 420 to options_ok_codes"),
        (silent, "fail", "no answer within 1 s", "check the firewall for UDP"),
    ],
)
async def test_what_answers_options(behaviour: Behaviour, status: str, said: str, todo: str) -> None:
    async with udp_responder(behaviour) as (target, _):
        checks, _ = await found(trunk(domain=f"127.0.0.1:{target.port}"))
    assert list(checks) == ["options"]  # an address needs no DNS
    assert checks["options"].status == status
    assert checks["options"].detail.startswith(f"127.0.0.1:{target.port};udp: {said}")
    assert todo in checks["options"].todo


async def test_a_carrier_that_is_not_probed_may_be_silent() -> None:
    async with udp_responder(silent) as (target, _):
        checks, _ = await found(trunk(domain=f"127.0.0.1:{target.port}", options_interval_s=0))
    assert (checks["options"].status, "options_interval_s is 0" in checks["options"].todo) == ("warn", True)


async def test_calls_go_on_while_one_address_answers() -> None:
    async with AsyncExitStack() as stack:
        good, _ = await stack.enter_async_context(udp_responder(answering("200 OK")))
        dead = free_port()
        proxies = [f"127.0.0.1:{good.port}", f"127.0.0.1:{dead}"]
        checks, _ = await found(trunk(outbound_proxies=proxies))
        assert checks["options"].status == "warn"
        assert f"127.0.0.1:{dead};udp: refused: nothing listens there" in checks["options"].detail
        checks, _ = await found(trunk(outbound_proxies=proxies[1:]))
        assert (checks["options"].status, checks["options"].is_configuration) == ("fail", False)


async def test_an_agent_that_is_not_started_yet_is_no_failure() -> None:
    port = free_port()
    mine = trunk(domain=f"127.0.0.1:{port}")
    ours = Settings.model_validate({"sip": {"port": port}})
    checks, _ = await found(mine, settings=ours, agent_runs=False)
    assert (checks["options"].status, checks["options"].todo) == ("ok", "")
    assert "our own port: nothing answers before `sipua serve` runs" in checks["options"].detail
    for settings, agent_runs in ((ours, True), (SETTINGS, False)):
        checks, _ = await found(mine, settings=settings, agent_runs=agent_runs)
        assert checks["options"].status == "fail"


async def test_a_bind_address_that_leads_nowhere_is_a_configuration_fault() -> None:
    mine = trunk(domain="127.0.0.1", bind="192.0.2.1")
    checks, _ = await found(mine)
    assert (checks["options"].status, checks["options"].is_configuration) == ("fail", True)
    assert "cannot be sent from 192.0.2.1" in checks["options"].detail
    assert checks["options"].todo.startswith("set bind of the trunk to an address of this machine")


async def test_the_other_sides_clock_is_read() -> None:
    late = format_datetime(datetime.now(UTC) - timedelta(seconds=90), usegmt=True)
    async with udp_responder(answering("200 OK", f"Date: {late}")) as (target, _):
        _, report = await found(trunk(domain=f"127.0.0.1:{target.port}"))
    assert list(report.ahead) == ["trunk mtn"]
    assert 87 < report.ahead["trunk mtn"] < 95


# ---- TLS -------------------------------------------------------------------------------------------------


async def secured(folder: Path, names: Sequence[str], **values: object) -> tuple[dict[str, Check], int]:
    """A trunk at a TLS server that shows a certificate for these names."""
    authority = Authority(folder)
    async with stream_responder(answering("200 OK"), authority.issue(*names)) as target:
        place = {"domain": f"{NAME}:{target.port}", "static_hosts": {NAME: ["127.0.0.1"]}}
        mine = trunk(**(place | {"transport": "tls", "tls_ca": str(authority.file)} | values))
        return (await found(mine))[0], target.port


async def test_a_certificate_for_the_trunks_name_is_accepted_and_options_go_through(tmp_path: Path) -> None:
    checks, port = await secured(tmp_path, [NAME])
    assert list(checks) == ["dns", "tls", "options"]
    assert checks["tls"].detail.startswith(f"127.0.0.1:{port};tls: TLSv1.3, certificate for {NAME} until ")
    assert checks["tls"].status == "warn"  # until tomorrow
    assert checks["options"].detail.startswith(f"127.0.0.1:{port};tls: 200 OK in ")


async def test_a_certificate_for_another_host_stops_there(tmp_path: Path) -> None:
    checks, port = await secured(tmp_path, ["other.example.test"])
    assert list(checks) == ["dns", "tls"]
    assert checks["tls"].status == "fail"
    assert (
        checks["tls"].detail
        == f"127.0.0.1:{port};tls: the certificate is for other.example.test, not for {NAME}"
    )


async def test_the_name_that_the_file_gives_counts(tmp_path: Path) -> None:
    checks, _ = await secured(tmp_path, ["other.example.test"], tls_name="other.example.test")
    assert checks["options"].status == "ok"


async def test_one_good_address_of_two_is_enough(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with AsyncExitStack() as stack:
        good, bad = [
            await stack.enter_async_context(stream_responder(answering("200 OK"), identity))
            for identity in (authority.issue(NAME), authority.expired(NAME))
        ]
        mine = trunk(
            transport="tls", tls_ca=str(authority.file), static_hosts={NAME: ["127.0.0.1"]},
            outbound_proxies=[f"{NAME}:{good.port}", f"{NAME}:{bad.port}"],
        )  # fmt: skip
        checks, _ = await found(mine)
    assert checks["tls"].status == "warn"
    assert f"{bad.port};tls: the certificate for {NAME} expired on " in checks["tls"].detail
    assert checks["options"].status == "ok"
    assert str(bad.port) not in checks["options"].detail


async def test_a_ca_file_that_is_not_there_is_a_configuration_fault(tmp_path: Path) -> None:
    checks, _ = await secured(tmp_path, [NAME], tls_ca=str(tmp_path / "nowhere"))
    assert (checks["tls"].status, checks["tls"].is_configuration) == ("fail", True)
    assert list(checks) == ["dns", "tls"]
