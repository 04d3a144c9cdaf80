"""Our own certificate, for those who connect to us."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sipua.checks.own_certificate import own_certificate
from sipua.checks.report import Check
from sipua.settings import SipSettings
from sipua.trunk import Trunk
from tests.certificates import Authority, Identity

NOW = datetime.now(UTC)


def trunk(**values: object) -> Trunk:
    fixed = {"schema": 1, "name": "mtn", "provider": "mtn", "transport": "tls", "domain": "sip.example.test"}
    return Trunk.model_validate(fixed | values)


def checked(identity: Identity, now: datetime = NOW) -> Check:
    sip = SipSettings(tls_certificate=str(identity.certificate), tls_key=str(identity.key))
    (check,) = own_certificate(sip, [trunk()], now)
    return check


def test_only_those_who_connect_by_tls_need_one() -> None:
    sip = SipSettings()
    for mine in (
        trunk(transport="udp"),
        trunk(enabled=False),
        trunk(direction="outbound"),
        trunk(kind="register", registrar_uri="sip:sip.example.test", aor_user="u"),
    ):
        assert own_certificate(sip, [mine], NOW) == []
    (check,) = own_certificate(sip, [trunk()], NOW)
    assert (check.status, check.is_configuration) == ("fail", True)
    assert check.detail == "none: mtn cannot connect to us by TLS"


def test_its_names_and_dates_are_told(tmp_path: Path) -> None:
    identity = Authority(tmp_path).issue("us.example.test")
    assert checked(identity, NOW - timedelta(days=30)).status == "ok"
    soon = checked(identity)
    assert (soon.status, soon.detail.startswith("for us.example.test until 20")) == ("warn", True)
    expired = checked(identity, NOW + timedelta(days=2))
    assert (expired.status, expired.detail.startswith("expired: ")) == ("fail", True)


def test_files_that_do_not_belong_together_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    one, other = authority.issue("us.example.test"), authority.issue("us.example.test")
    for identity in (
        Identity(one.certificate, other.key),
        Identity(tmp_path / "nowhere", one.key),
        Identity(one.key, one.key),
    ):
        check = checked(identity)
        assert (check.status, check.is_configuration) == ("fail", True)
        assert str(identity.certificate) in check.detail
