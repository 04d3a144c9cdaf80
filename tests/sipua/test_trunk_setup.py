"""What the provider is told or asked, and what doctor says of a trunk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sipua.checks.trunk_files import codecs
from sipua.checks.trunk_files import one as check_of
from sipua.config_file import read_secret
from sipua.pj.build import LibraryFacts
from sipua.resources import shipped_conf
from sipua.settings import Settings
from sipua.trunk import Trunk
from sipua.trunk_files import load_trunks
from sipua.trunk_setup import OURS, Step, our_address, setup_of

SETTINGS = Settings.model_validate({"sip": {"bind": "8.8.4.4", "port": 5070}})
SHIPPED = {each.name: each for each in load_trunks(shipped_conf())}
OWN = LibraryFacts("2.17", "own", 1024, "OpenSSL 3.0.17")
WHEEL = LibraryFacts("2.15.1", "wheel", 4, "OpenSSL 1.0.2k")


def trunk(**values: object) -> Trunk:
    return Trunk.model_validate({"schema": 1, "name": "a", "provider": "twilio"} | values)


def found(steps: tuple[Step, ...], word: str) -> Step:
    (step,) = [each for each in steps if word in each.where]
    return step


def test_twilio_is_told_where_we_are_and_who_we_are() -> None:
    steps = setup_of(
        trunk(
            domain="x.pstn.twilio.com",
            auth_user="sipua",
            password_env="GEHEIM",
            caller_id="+12025550100",
            inbound_acl=["54.172.60.0/30"],
        ),
        SETTINGS,
    )
    assert found(steps, "Origination URI").values[0] == "sip:8.8.4.4:5070;transport=udp"
    assert found(steps, "IP access control list").values == ("8.8.4.4/32",)
    assert found(steps, "credential list").values == ("user sipua, the password that password_env names",)
    assert found(steps, "Termination, SIP URI").values == ("x.pstn.twilio.com",)
    assert found(steps, "caller IDs").values == ("+12025550100",)
    assert found(steps, "signalling to port 5070").values == ("54.172.60.0/30",)
    assert found(steps, "UDP 16000-16999").values == ("168.86.128.0/18",)
    assert "GEHEIM" not in str(steps)


def test_only_the_directions_that_a_trunk_has_are_set_up() -> None:
    inbound = setup_of(trunk(direction="inbound"), SETTINGS)
    outbound = setup_of(trunk(direction="outbound"), SETTINGS)
    assert not [each for each in inbound if "Termination" in each.where]
    assert not [each for each in outbound if "Origination" in each.where]


def test_what_mtn_has_to_tell_is_asked_one_by_one() -> None:
    mtn = SHIPPED["mtn"]
    steps = setup_of(mtn, SETTINGS)
    questions = found(steps, "Ask MTN").values
    assert [each.partition(":")[0] for each in questions] == [key for key, _ in mtn.asks]
    assert not [each for each in questions if each.endswith("the value")]
    assert found(steps, "At last").values == ("enabled = true",)


def test_a_softphone_is_told_what_to_dial_and_as_whom() -> None:
    phone = SHIPPED["softphone"]
    steps = setup_of(phone, SETTINGS)
    assert found(steps, "dial").values == ("sip:agent@8.8.4.4:5070;transport=udp",)
    assert found(steps, "authentication").values == (
        "user phone, the password that inbound_password_env names",
    )
    assert found(steps, "inbound_acl").values == tuple(map(str, phone.inbound_acl))


@pytest.mark.parametrize(
    ("provider", "bind", "expected"),
    [
        ("twilio", "127.0.0.1", OURS),
        ("twilio", "10.0.0.1", OURS),
        ("twilio", "0.0.0.0", OURS),
        ("twilio", "8.8.4.4", "8.8.4.4"),
        ("mtn", "10.0.0.1", "10.0.0.1"),  # a leased line
        ("softphone", "192.168.1.2", "192.168.1.2"),
        ("softphone", "127.0.0.1", OURS),
    ],
)
def test_an_address_that_the_other_side_cannot_reach_is_not_told(
    provider: str, bind: str, expected: str
) -> None:
    settings = Settings.model_validate({"sip": {"bind": bind}})
    address, note = our_address(trunk(provider=provider), settings)
    assert (address, bool(note)) == (expected, expected == OURS)


def test_a_fixed_public_address_is_told() -> None:
    assert our_address(trunk(public_ip="8.8.8.8"), SETTINGS) == ("8.8.8.8", "")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_trunk_can_be_set_up(name: str) -> None:
    steps = setup_of(SHIPPED[name], SETTINGS)
    assert steps
    assert all(step.where and step.values and all(step.values) for step in steps)


def test_doctor_names_what_is_to_be_asked() -> None:
    check = check_of(SHIPPED["mtn"], OWN)
    assert (check.status, check.todo) == ("ok", "`sipua trunk setup mtn` has the questions")
    assert check.detail.partition("; ask MTN for ")[2] == ", ".join(key for key, _ in SHIPPED["mtn"].asks)


def test_doctor_names_a_password_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    by_name = trunk(auth_user="u", password_env="NOT_THERE")
    by_file = trunk(inbound_auth_user="u", inbound_password_file=str(tmp_path / "geheim"), enabled=False)
    assert (check_of(by_name, OWN).status, check_of(by_file, OWN).status) == ("fail", "ok")
    assert check_of(by_name, OWN).is_configuration
    assert "password_env: the environment name that it gives is not set" in check_of(by_name, OWN).detail
    assert "inbound_password_file: the file that it names cannot be read" in check_of(by_file, OWN).detail
    assert "geheim" not in check_of(by_file, OWN).detail
    (tmp_path / "geheim").write_text("sesame\n")
    assert read_secret("x", "", str(tmp_path / "geheim")).get_secret_value() == "sesame"
    monkeypatch.setenv("NOT_THERE", "sesame")
    assert (check_of(by_name, OWN).status, check_of(by_file, OWN).status) == ("ok", "ok")
    assert "sesame" not in str((check_of(by_name, OWN), check_of(by_file, OWN)))


def test_doctor_warns_of_tls_on_the_wheel() -> None:
    tls = trunk(transport="tls", enabled=False, tls_ca="carrier.pem")
    check = check_of(tls, WHEEL)
    assert (check.name, check.status) == ("trunk a", "warn")
    assert "OpenSSL 1.0.2k, which is end of life" in check.detail
    assert "make pjsua2" in check.todo
    assert check_of(tls, OWN).status == "ok"
    lacking = check_of(trunk(transport="tls", auth_user="u", password_env="NOT_THERE"), WHEEL)
    assert (lacking.status, lacking.is_configuration) == ("fail", True)
    assert "which is end of life" in lacking.detail
    assert check_of(trunk(), WHEEL).status == "ok"


@pytest.mark.parametrize(
    ("direction", "status"), [("both", "fail"), ("inbound", "fail"), ("outbound", "warn")]
)
def test_doctor_fails_where_nobody_can_connect_by_tls(direction: str, status: str) -> None:
    """The wheel's OpenSSL never finishes a handshake as server while tls_ca is the system's bundle."""
    check = check_of(trunk(transport="tls", direction=direction), WHEEL)
    assert (check.status, check.is_configuration) == (status, status == "fail")
    assert "tls_ca is not set" in check.detail
    assert "set tls_ca to a file" in check.todo
    bundled = check_of(trunk(transport="tls", direction=direction, tls_ca="carrier.pem"), WHEEL)
    assert (bundled.status, "tls_ca" in bundled.detail) == ("warn", False)
    assert check_of(trunk(transport="tls", direction=direction), OWN).status == "ok"


@pytest.mark.parametrize(
    ("provider", "offered", "status", "said"),
    [
        ("twilio", ("PCMU", "PCMA"), "ok", "PCMU, PCMA, as twilio takes them"),
        ("somebody", ("PCMA",), "ok", "PCMA"),
        ("twilio", ("G722", "PCMA"), "warn", "PCMA, as twilio takes them; never G722"),
        ("twilio", ("G722",), "fail", "G722: nothing in common with twilio, which takes PCMU, PCMA"),
        ("somebody", ("OPUS",), "fail", "OPUS: this pjsua2 has only G722, PCMA, PCMU"),
    ],
)
def test_doctor_compares_codecs_with_carrier_and_build(
    provider: str, offered: tuple[str, ...], status: str, said: str
) -> None:
    mine = trunk(provider=provider).model_copy(update={"codecs": offered})
    check = codecs(mine, replace(OWN, codecs=("G722", "PCMA", "PCMU")))
    assert (check.status, check.detail, check.is_configuration) == (status, said, status == "fail")
