"""The TLS rule and what of a connection string may be shown."""

from __future__ import annotations

import pytest

from storage.dsn import check_dsn, redact
from storage.errors import BadDsn


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
@pytest.mark.parametrize(
    "place",
    ["u:geheim@db.example.com/x", "u@10.0.0.7/x", "u@[2001:db8::1]/x", "u@127.0.0.1,db.example.com/x"],
)
def test_weak_tls_towards_another_host_is_refused(mode: str, place: str) -> None:
    with pytest.raises(BadDsn, match=f"sslmode={mode}") as caught:
        check_dsn(f"postgresql://{place}?sslmode={mode}")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_strong_tls_is_left_as_it_is(mode: str) -> None:
    dsn = f"postgresql://u@db.example.com/x?sslmode={mode}"
    assert check_dsn(dsn) == dsn


def test_tls_is_required_where_nothing_is_said() -> None:
    assert "sslmode=require" in check_dsn("postgresql://u:p@db.example.com/x")


@pytest.mark.parametrize(
    "place", ["/x", "localhost/x", "127.0.0.1:5433/x", "[::1]/x", "/x?host=/run/pg", "/x?host=@a"]
)
def test_this_machine_needs_none(place: str) -> None:
    dsn = f"postgresql://{place}"
    assert check_dsn(dsn) == dsn


def test_hostaddr_decides_where_it_goes() -> None:
    with pytest.raises(BadDsn):
        check_dsn("host=localhost hostaddr=192.0.2.1 sslmode=disable")


@pytest.mark.parametrize(
    "places",
    [
        "host=localhost,db.example.com hostaddr=127.0.0.1,",
        "host=127.0.0.1,127.0.0.1 hostaddr=,192.0.2.1",
        "hostaddr=192.0.2.1",
        "service=prod",
        "service=prod host=localhost",  # it may add a hostaddr
    ],
)
def test_every_pair_of_host_and_address_and_a_service_may_lead_elsewhere(places: str) -> None:
    with pytest.raises(BadDsn, match="sslmode=disable"):
        check_dsn(f"{places} sslmode=disable")
    assert "sslmode=require" in check_dsn(places)


def test_an_address_of_this_machine_under_a_foreign_name_is_local() -> None:
    dsn = "host=db.example.com,x hostaddr=127.0.0.1,::1 sslmode=disable"
    assert check_dsn(dsn) == dsn


def test_a_service_of_the_environment_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICE", "prod")
    with pytest.raises(BadDsn, match="service prod"):
        check_dsn("dbname=x sslmode=disable")
    assert "sslmode=require" in check_dsn("dbname=x")
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert "sslmode=verify-full" in check_dsn("dbname=x")


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://u:geheim@h.example:6543/x?sslmode=require", "postgresql://u@h.example:6543/x"),
        ("host=h.example port=1 user=u password=geheim dbname=x", "postgresql://u@h.example:1/x"),
        ("postgresql://u:geheim@[::1]:1/x", "postgresql://u@[::1]:1/x"),
        ("postgresql://u@/x?host=%2Frun%2Fmy%20pg", "postgresql://u@/x?host=/run/my%20pg"),
        ("postgres//u:geheim@x", "(not a connection string)"),
    ],
)
def test_no_password_is_shown(dsn: str, shown: str) -> None:
    assert redact(dsn) == shown
