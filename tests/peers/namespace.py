"""A network of the test's own: a network namespace with nothing but lo, in which packets can be made to vanish."""

from __future__ import annotations

import re
import subprocess
from types import TracebackType
from typing import Self

# Of what arrives, not of what is sent: a sender would be told (EPERM), as no sender to a black hole is.
HOLE = """\
table inet hole {{
    chain input {{
        type filter hook input priority 0
        ip daddr {address} counter drop
    }}
}}
"""


class NotPermittedError(Exception):
    """This user or container may not make network namespaces."""


class Namespace:
    """``prefix`` before a command runs it inside."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.prefix = ("ip", "netns", "exec", name)

    def __enter__(self) -> Self:
        try:
            _run("ip", "netns", "add", self._name)
            self.run("ip", "link", "set", "lo", "up")
        except subprocess.CalledProcessError as error:
            self._delete()
            raise NotPermittedError(f"{' '.join(error.cmd)}: {error.stderr.strip()}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._delete()

    def _delete(self) -> None:
        subprocess.run(["ip", "netns", "delete", self._name], check=False, capture_output=True)

    def run(self, *command: str) -> str:
        """A command's output."""
        return _run(*self.prefix, *command)

    def swallow(self, address: str) -> None:
        """From now on packets to this address vanish."""
        self.run("nft", HOLE.format(address=address))

    def swallowed(self) -> int:
        """How many have vanished."""
        found = re.search(r"packets (\d+)", self.run("nft", "list", "table", "inet", "hole"))
        assert found is not None
        return int(found[1])

    def swallow_nothing(self) -> None:
        self.run("nft", "delete", "table", "inet", "hole")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout
