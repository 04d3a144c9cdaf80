"""Each channel against a real peer: a program, an HTTP server, a mail server."""

from __future__ import annotations

import json
import ssl
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import openai
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sipua.alert_settings import AlertSettings
from sipua.alerts.channels import Command, open_channels
from sipua.alerts.incident import Incident, Phase, Step, Word
from sipua.alerts.mail import Mail, MailServer, mail_of
from sipua.alerts.message import Message, Sender, plain
from sipua.checks.told import told
from sipua.http import bind_tcp, running
from sipua.notify import NotTold
from tests.alerts import smtp
from tests.certificates import Authority

SECRET = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw=="
AT = datetime(2026, 11, 23, 8, 0, 30, tzinfo=UTC)
KIGALI = Sender("n1", 2, ZoneInfo("Africa/Kigali"))
WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())"


def message(word: Word = Word.OPENED, what: str = "trunk mtn is down: not registered") -> Message:
    since = AT - timedelta(seconds=30)
    incident = Incident("trunk", "mtn", what, "run `sipua trunks`", since, "7c0f", Phase.OPEN, AT)
    return Message.of(incident, Step(1, word, AT), KIGALI)


# ---- what is told --------------------------------------------------------------------------------------------


def test_people_read_what_since_when_where_and_what_to_do() -> None:
    assert message().text() == (
        "trunk mtn is down: not registered.\n\n"
        "Since: 2026-11-23 10:00:00 CAT (08:00:00 UTC)\n"
        "Where: n1, worker 2\n"
        "To do: run `sipua trunks`\n\n"
        "Incident 7c0f (trunk)\n"
    )
    over = message(Word.RECOVERED).text()
    assert over.startswith("recovered: trunk mtn is down")
    assert "Until: 2026-11-23 10:00:30 CAT" in over
    assert "To do" not in over


def test_programs_read_the_same() -> None:
    document = json.loads(message(Word.RECOVERED).body())
    assert (document["type"], document["timestamp"]) == ("alert.recovered", AT.isoformat())
    assert document["data"] == {
        "id": "7c0f", "key": "n1/trunk/mtn", "kind": "trunk", "subject": "mtn", "node": "n1", "worker": 2,
        "what": "trunk mtn is down: not registered", "todo": "run `sipua trunks`",
        "since": (AT - timedelta(seconds=30)).isoformat(), "until": AT.isoformat(),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("403 no +250788123456 here", "403 no …56 here"),
        ("key sk-proj-abcDEF123456 refused", "key … refused"),
        ("a\r\nBcc: x@y\0", "a Bcc: x@y"),
        ("port 5060, 192.0.2.17", "port 5060, 192.0.2.17"),
        ("x" * 500, "x" * 399 + "…"),
    ],
)
def test_texts_of_others_hold_no_numbers_keys_or_lines(said: str, told: str) -> None:
    assert plain(said) == told


def test_headers_are_encoded_and_one_line() -> None:
    mail = mail_of(
        message(what="Leitung »mtn«\nBcc: x@example.org"), "agent@example.org", ("ops@example.org",)
    )
    raw = mail.as_bytes()
    assert mail["Subject"] == "[sipua n1/2] Leitung »mtn« Bcc: x@example.org"
    assert b"=?utf-8?q?=C2=BBmtn=C2=AB?=" in raw
    assert mail["Bcc"] is None
    assert b"\nBcc" not in raw


# ---- command and webhook ---------------------------------------------------------------------------------------


async def test_a_command_gets_it_on_stdin(tmp_path: Path) -> None:
    await Command([sys.executable, "-c", WRITE, str(tmp_path / "told")]).tell(message())
    assert (tmp_path / "told").read_bytes() == message().body()


@pytest.mark.parametrize(
    ("command", "said"),
    [(["/nowhere/tell"], "No such file"), ([sys.executable, "-c", "raise SystemExit(3)"], "ended with 3")],
)
async def test_a_command_that_fails_is_told(command: list[str], said: str) -> None:
    with pytest.raises(NotTold, match=said):
        await Command(command).tell(message())


async def test_a_post_is_signed(tmp_path: Path) -> None:
    got: list[tuple[dict[str, str], bytes]] = []

    async def take(request: Request) -> Response:
        got.append((dict(request.headers), await request.body()))
        return Response(status_code=204 if len(got) == 1 else 503)

    (tmp_path / "secret").write_text(SECRET)
    app = Starlette(routes=[Route("/alerts", take, methods=["POST"])])
    async with running(app, bind_tcp("127.0.0.1", 0, "HTTP")) as (host, port):
        settings = AlertSettings(url=f"http://{host}:{port}/alerts", secret_file=str(tmp_path / "secret"))
        async with open_channels(settings) as channels:
            assert list(channels) == ["webhook"]
            await channels["webhook"].tell(message())
            with pytest.raises(NotTold, match="answered 503"):
                await channels["webhook"].tell(message())
    headers, body = got[0]
    openai.OpenAI(api_key="x", webhook_secret=SECRET).webhooks.verify_signature(body, headers)
    assert headers["webhook-id"] == "7c0f.1"
    assert body == message().body()


# ---- mail ------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def context_of(authority: Authority, *names: str) -> ssl.SSLContext:
    identity = authority.issue(*names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    return context


def mail_to(server: smtp.MailServer, **values: str) -> Mail:
    given = {"tls": "none"} | values
    return Mail(
        MailServer("127.0.0.1", server.port, **given),
        "agent@example.org",
        ("ops@example.org", "b@example.org"),
    )


async def test_a_mail_arrives_in_the_clear_where_that_is_set() -> None:
    async with smtp.mail_server(smtp.MailServer()) as server:
        await mail_to(server).tell(message())
    (mail,) = server.mails
    assert (mail["Subject"], mail["To"]) == (
        "[sipua n1/2] trunk mtn is down: not registered", "ops@example.org, b@example.org",
    )  # fmt: skip
    assert mail.get_content().replace("\r\n", "\n") == message().text()
    assert mail["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_mail_is_encrypted_and_logged_in(tls: str, authority: Authority) -> None:
    behind = smtp.MailServer(
        context_of(authority, "127.0.0.1"), is_tls=tls == "tls", login=("agent", "secret")
    )
    async with smtp.mail_server(behind) as server:
        mail = mail_to(server, tls=tls, ca=str(authority.file), user="agent", password="secret")
        await mail.probe()
        assert not server.mails
        await mail.tell(message())
        assert (len(server.mails), server.encrypted, server.logins) == (1, [True], [True, True])


MAIL_FAULTS = {
    "a wrong password": ({"login": ("agent", "other")}, "starttls", "answered 535"),
    "no encryption offered": ({"context": None}, "starttls", "STARTTLS"),
    "another name": ({"names": ("mail.example.org",)}, "starttls", "certificate verify failed"),
    "one of the recipients refused": (
        {"refuses": ("b@example.org",)},
        "starttls",
        "no mail for b@example.org",
    ),
    "all refused": (
        {"refuses": ("b@example.org", "ops@example.org")},
        "starttls",
        "no mail for ops@example.org, b",
    ),
    "silence": ({"hangs": True}, "starttls", "timed out"),
}


@pytest.mark.parametrize(("server", "tls", "said"), MAIL_FAULTS.values(), ids=MAIL_FAULTS)
async def test_what_is_wrong_with_a_mail_is_told_without_the_password(
    server: dict[str, object], tls: str, said: str, authority: Authority
) -> None:
    names = server.pop("names", ("127.0.0.1",)) if "names" in server else ("127.0.0.1",)
    context = context_of(authority, *names)  # type: ignore[misc]
    peer = replace(smtp.MailServer(context, login=("agent", "secret")), **server)  # type: ignore[arg-type]
    async with smtp.mail_server(peer):
        given = {"ca": str(authority.file), "user": "agent", "password": "secret"}
        target = MailServer("127.0.0.1", peer.port, tls, **given)
        mail = Mail(target, "agent@example.org", ("ops@example.org", "b@example.org"), step_s=0.2)
        with pytest.raises(NotTold, match=said) as caught:
            await mail.tell(message())
    assert "secret" not in str(caught.value) + repr(target)


# ---- settings and doctor ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "https://example.org/a"}, "both or neither"),
        ({"url": "http://example.org/a", "secret_file": "x"}, "https"),
        ({"command": [""]}, "its first word"),
        ({"mail_to": ["ops@example.org"]}, "needs smtp_host and mail_from"),
        ({"mail_to": ["ops"], "smtp_host": "h", "mail_from": "a@b"}, "'ops' is no address"),
        ({"mail_to": ["a@b\nBcc: c@d"], "smtp_host": "h", "mail_from": "a@b"}, "is no address"),
        ({"smtp_user": "agent"}, "both or neither"),
        ({"smtp_user": "a", "smtp_password_file": "f", "smtp_tls": "none"}, "in the clear"),
        ({"off": ["weather"]}, "'trunk'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AlertSettings.model_validate(given)


async def test_doctor_looks_at_each_channel(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    async with smtp.mail_server(smtp.MailServer()) as server:
        settings = AlertSettings(
            command=["/nowhere/tell"], url="http://127.0.0.1:9/x", secret_file=str(tmp_path / "secret"),
            mail_to=["ops@example.org"], mail_from="agent@example.org", smtp_host="127.0.0.1",
            smtp_port=server.port, smtp_tls="none",
        )  # fmt: skip
        found = {check.name: check.status for check in await told(settings)}
    assert found == {"alerts command": "fail", "alerts url": "fail", "alerts mail": "ok"}
    assert not server.mails
    assert [(each.status, each.detail) for each in await told(AlertSettings())] == [
        ("warn", "nobody is told")
    ]
