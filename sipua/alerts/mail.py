"""Alerts as e-mail, through a server that takes ours. smtplib blocks, so each mail is sent from a thread of its own:
one that hangs ends with its time-outs, and with the process at the latest.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid

from sipua.alerts.message import Message
from sipua.notify import NotTold

STEP_S = 10.0  # for each answer of the server


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where and how. ``password`` is not shown."""

    host: str
    port: int
    tls: str  # starttls, tls, none
    ca: str = ""
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"MailServer({self.host}:{self.port}, {self.tls})"


def mail_of(message: Message, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """Headers are encoded by RFC 2047, and one line whatever stands in them."""
    sent_by = message.sender
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = f"[sipua {sent_by.node}/{sent_by.worker}] {message.headline}"
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Date"] = format_datetime(message.at)
    mail["Message-ID"] = make_msgid(message.id, sender.rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Sipua-Incident"] = message.incident
    mail.set_content(message.text())
    return mail


class Mail:
    """A channel."""

    def __init__(self, server: MailServer, sender: str, to: tuple[str, ...], step_s: float = STEP_S) -> None:
        self._server = server
        self._sender = sender
        self._to = to
        self._step_s = step_s

    async def tell(self, message: Message) -> None:
        mail = mail_of(message, self._sender, self._to)
        await _in_thread(lambda: self._send(mail))

    async def probe(self) -> None:
        """Connects, encrypts and logs in; sends nothing. Raises NotTold."""
        await _in_thread(lambda: self._send(None))

    def _send(self, mail: EmailMessage | None) -> None:
        where = f"alerts.smtp_host {self._server.host}:{self._server.port}"
        try:
            with self._connected() as connection:
                if mail is None:
                    connection.noop()
                    return
                refused = connection.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            raise NotTold(f"{where} takes no mail for {', '.join(error.recipients)}") from None
        except smtplib.SMTPResponseException as error:
            raise NotTold(f"{where} answered {error.smtp_code}") from None
        except (OSError, ssl.SSLError, smtplib.SMTPException, ValueError) as error:
            raise NotTold(f"{where}: {str(error) or type(error).__name__}") from None
        if refused:  # some; the others have it, and a repetition would be their second
            raise NotTold(f"{where} takes no mail for {', '.join(refused)}")

    def _connected(self) -> smtplib.SMTP:
        server = self._server
        context = None if server.tls == "none" else ssl.create_default_context(cafile=server.ca or None)
        connection: smtplib.SMTP
        if server.tls == "tls":
            connection = smtplib.SMTP_SSL(server.host, server.port, timeout=self._step_s, context=context)
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=self._step_s)
        try:
            if server.tls == "starttls":
                connection.starttls(context=context)
            if server.user:
                connection.login(server.user, server.password)
        except BaseException:
            connection.close()
            raise
        return connection


async def _in_thread(work: Callable[[], None]) -> None:
    """Not the loop's own pool: that one is waited for at the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: Exception | None = None
        try:
            work()
        except Exception as failure:  # noqa: BLE001 - carried to who waits
            error = failure
        try:
            loop.call_soon_threadsafe(settle, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    threading.Thread(target=run, name="alert-mail", daemon=True).start()
    await done
