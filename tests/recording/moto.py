"""An S3 server that nobody here wrote (moto's), as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.ports import free_port


class Moto:
    """Its server, started and stopped at will; what it holds is lost with it."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "moto.server",
                "-H",
                "127.0.0.1",
                "-p",
                str(self.port),
            ]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def makes(self, bucket: str) -> bool:
        """Whether it answers already, and has the bucket then."""
        try:
            urllib.request.urlopen(
                urllib.request.Request(f"{self.url}/{bucket}", method="PUT"), timeout=5
            ).close()
        except OSError:
            return False
        return True

    def get(self, url: str) -> bytes:
        """As somebody who may: it believes any signature."""
        signed = "AWS4-HMAC-SHA256 Credential=k/20260101/r/s3/aws4_request, SignedHeaders=host, Signature=0"
        request = urllib.request.Request(url, headers={"Authorization": signed})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bytes(answer.read())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None
