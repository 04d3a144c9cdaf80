"""The trunk files as accounts of the SIP layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sipua.accounts import Place, account_name, accounts_of, own_listener, secrets_of
from sipua.errors import ConfigError
from sipua.sip_account import Account, Listener, TlsFiles
from sipua.sip_events import Credential
from sipua.trunk import Trunk

PLACE = Place("192.0.2.9", 5060, "sipua", tls_port=5061, certificate="our.pem", key="our.key")


def trunk(**values: Any) -> Trunk:
    base = {"schema": 1, "name": "a", "provider": "a", "domain": "carrier.test"}
    return Trunk.model_validate(base | values)


def account(place: Place = PLACE, **values: Any) -> Account:
    trunks = [trunk(**values)]
    return accounts_of(trunks, place, secrets_of(trunks))[0]


def test_a_plain_trunk_shares_the_endpoints_own_listener() -> None:
    found = account()
    assert found.listener == Listener("udp", "192.0.2.9", 5060)
    assert (found.name, found.trunk, found.contact_user) == ("a", "a", "sipua")
    assert (found.credential, found.registrar, found.headers) == (None, "", ())
    assert accounts_of([trunk(enabled=False)], PLACE, {}) == ()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"bind_port": 5070}, Listener("udp", "192.0.2.9", 5070)),
        ({"bind": "192.0.2.10"}, Listener("udp", "192.0.2.10", 5060)),
        ({"transport": "tcp"}, Listener("tcp", "192.0.2.9", 5060)),
        ({"dscp": 46, "public_ip": "198.51.100.1"}, Listener("udp", "192.0.2.9", 5060, "198.51.100.1", 46)),
        (
            {"transport": "tls", "tls_ca": "ca.pem", "tls_min_version": "1.3"},
            Listener("tls", "192.0.2.9", 5061, tls=TlsFiles("ca.pem", "our.pem", "our.key", "1.3")),
        ),
    ],
)
def test_bind_port_and_transport_make_a_listener(values: dict[str, Any], expected: Listener) -> None:
    assert account(**values).listener == expected


def test_a_test_call_takes_none_of_the_agents_ports() -> None:
    place = Place("127.0.0.1", 0, "softphone", has_fixed_ports=False)
    assert account(place, bind_port=5070).listener == Listener("udp", "127.0.0.1", 0)


def test_the_endpoints_own_listener_is_as_the_trunk_that_shares_it_wants_it() -> None:
    elsewhere, here = trunk(name="b", dscp=10, bind_port=5070), trunk(dscp=46)
    assert own_listener(accounts_of([elsewhere, here], PLACE, {}), PLACE).dscp == 46
    assert own_listener(accounts_of([elsewhere], PLACE, {}), PLACE) == Listener("udp", "192.0.2.9", 5060)


def test_a_trunk_that_registers(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim\n")
    found = account(
        kind="register", registrar_uri="sip:registrar.test", aor_user="line1", auth_user="impi@ims.test",
        realm="ims.test", password_file=str(tmp_path / "password"), contact_user="desk",
        outbound_proxies=["edge.test:5070"], transport="tcp",
    )  # fmt: skip
    assert found.address_of_record == "sip:line1@carrier.test"
    assert found.credential == Credential("ims.test", "impi@ims.test", "geheim")
    assert (found.registrar, found.contact_user) == ("sip:registrar.test", "desk")
    assert found.outbound_proxies == ("sip:edge.test:5070;transport=tcp",)
    assert "geheim" not in repr(found)
    assert account(auth_user="u@x", password_file=str(tmp_path / "password")).address_of_record == (
        "sip:u@carrier.test"
    )


def test_a_number_with_a_credential_has_an_account_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim\n")
    number = {"number": "+250788000001", "password_file": str(tmp_path / "password")}
    each = trunk(per_number_credentials=[number], realm="mtn")
    plain, own = accounts_of([each], PLACE, secrets_of([each]))
    assert (plain.name, plain.credential) == ("a", None)
    assert (own.name, own.trunk) == ("a/+250788000001", "a")
    assert own.credential == Credential("mtn", "788000001", "geheim")
    assert account_name(each, "+250788000001") == own.name
    assert account_name(each, "+250788000002") == plain.name


def test_headers_and_duties_of_a_trunk() -> None:
    found = account(
        user_agent="As MTN says",
        extra_headers={"X-Line": "7"},
        rel100="required",
        session_timer="off",
        se=600,
    )
    assert found.headers == (("User-Agent", "As MTN says"), ("X-Line", "7"))
    assert (found.rel100, found.session_timer, found.session_expires_s) == ("required", "off", 600)


def test_a_password_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"trunk a: password: .*is not set"):
        account(auth_user="us", password_env="NOT_SET_ANYWHERE")
