"""kamailio as registrar and carrier (``kamailio.cfg``): its users, how it is told to fail, what it saw and holds."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.certificates import Identity
from tests.peers.processes import until
from tests.ports import free_port

CONFIGURATION = Path(__file__).with_name("kamailio.cfg")
DOMAIN = "carrier.example.test"
REALM = "peers"


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it reached kamailio. ``expires`` is "" without such a header, ``user`` that of the digest."""

    method: str
    uri: str
    sender: str
    contact: str
    expires: str
    user: str
    at: float
    transport: str
    branch: str


class Kamailio:
    """One on free ports of ``host``; ``end`` stops it."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.5",
        port: int = 0,
        algorithm: str = "MD5",
        max_expires_s: int = 3600,
        tls: Identity | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.host = host
        self.port = port or free_port(host)
        self.tls_port = free_port(host) if tls else 0
        self._log = folder / f"kamailio-{self.port}.log"
        self._folder = Path(tempfile.mkdtemp(prefix="kamailio-"))  # a socket's path is short
        words = {
            "DOMAIN": DOMAIN, "REALM": REALM, "ALGORITHM": algorithm, "RPC_SOCKET": f"{self._folder}/rpc",
        }  # fmt: skip
        command = [*prefix, "kamailio", "-f", str(CONFIGURATION), "-DD", "-E", "-m", "32", "-M", "4"]
        command += ["-Y", str(self._folder), "-l", f"udp:{host}:{self.port}", "-l", f"tcp:{host}:{self.port}"]
        if tls:
            words |= {"TLS_CERTIFICATE": str(tls.certificate), "TLS_KEY": str(tls.key)}
            command += ["-l", f"tls:{host}:{self.tls_port}", "-A", "WITH_TLS"]
        for name, value in words.items():
            command += ["-A", f'{name}="{value}"']
        command += ["-A", f"MAX_EXPIRES={max_expires_s}"]
        with self._log.open("wb") as output:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self._rpc = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._rpc.bind(str(self._folder / "client"))
        self._rpc.settimeout(5)
        try:
            until(self._is_up, "kamailio is up")
        except BaseException:
            self.end()
            raise

    def _is_up(self) -> bool:
        assert self._popen.poll() is None, self.log
        try:
            self._rpc.connect(str(self._folder / "rpc"))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return bool(self.rpc("core.uptime"))

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def end(self) -> None:
        """Again at will."""
        self._popen.terminate()
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._rpc.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def rpc(self, method: str, *parameters: object) -> Any:
        """Its own remote control; what it answers."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        self._rpc.send(json.dumps(request).encode())
        answer = json.loads(self._rpc.recv(65535))
        assert "result" in answer, (method, answer)
        return answer["result"]

    # ---- what it is to do ------------------------------------------------------------------------------------

    def add_user(self, user: str, password: str, *, owns: str = "") -> None:
        """Digest user and password; ``owns`` is the user part that it may register, its own name by default."""
        self._set("users", user, password)
        self._set("owners", owns or user, user)

    def fail(self, method: str, how: str, *, header: str = "") -> None:
        """Requests of that method get this status, or nothing if ``how`` is ``silent``."""
        if header:
            self.set("header", header)
        self.set(method, how)

    def set(self, name: str, value: str) -> None:
        """A switch of its configuration: ``stale``, ``min_expires``, ``refuse``, ``carrier``."""
        self._set("switch", name, value)

    def unset(self, *names: str) -> None:
        for name in names:
            self.rpc("htable.delete", "switch", name)

    def add_binding(self, user: str, contact: str) -> None:
        """As if it had registered."""
        self.rpc("ul.add", "location", user, contact, 300, 1.0, "", 0, 0, 0)

    def notify(self, contact: str, user: str) -> Mapping[str, Any]:
        """Tells a contact that there is news in its mailbox; code and text of the answer."""
        body = "Messages-Waiting: yes\r\nVoice-Message: 1/0\r\n"
        headers = (
            f"From: <sip:mailbox@{DOMAIN}>\r\nTo: <sip:{user}@{DOMAIN}>\r\nContact: <sip:mailbox@{self.host}>\r\n"
            "Event: message-summary\r\nContent-Type: application/simple-message-summary\r\n"
        )
        answer: Mapping[str, Any] = self.rpc(
            "tm.t_uac_wait_block", "NOTIFY", contact, ".", ".", headers, body
        )
        return answer

    def _set(self, table: str, name: str, value: str) -> None:
        self.rpc("htable.sets", table, name, value)

    # ---- what it holds and saw -------------------------------------------------------------------------------

    def bindings(self) -> dict[str, list[Mapping[str, Any]]]:
        """Who is registered: address of record (user part) → its contacts as kamailio tells them."""
        domains = self.rpc("ul.dump")["Domains"]
        found = {}
        for domain in domains:
            for each in domain["Domain"]["AoRs"]:
                contacts = [contact["Contact"] for contact in each["Info"]["Contacts"]]
                found[str(each["Info"]["AoR"])] = contacts
        return found

    def requests(self, method: str, *, repeated: bool = False) -> list[Request]:
        """In order of arrival, those too that it was told to fail; ``repeated``: and what was sent again by UDP."""
        rows = (line.split("REQUEST\t", 1)[1] for line in self.log.splitlines() if "REQUEST\t" in line)
        found: list[Request] = []
        for row in rows:
            name, uri, sender, contact, expires, user, at, transport, via = (
                "" if field == "<null>" else field for field in row.split("\t")
            )
            branch = via.partition("branch=")[2].partition(";")[0]
            if name == method:
                found.append(Request(name, uri, sender, contact, expires, user, float(at), transport, branch))
        once: dict[str, Request] = {}
        for each in found:
            once.setdefault(each.branch, each)
        return found if repeated else list(once.values())
