"""The keys of ``[callbacks]``."""

from __future__ import annotations

from pydantic import Field, model_validator

from sipua.safe_url import check_url
from sipua.section import Section


class CallbackSettings(Section):
    """Who is told of a caller who wants to be called back; the requests stand in the database in any case."""

    notify_url: str = ""
    """https (http on this machine or in a private network): one signed POST for each; empty = none."""
    notify_secret_file: str = ""
    """A file with the secret that signs them, as the tools' (docs/tools.md)."""
    notify_command: list[str] = Field(default=[], max_length=64)
    """A program and its arguments, which is given the same JSON on stdin; empty = none."""

    @model_validator(mode="after")
    def _whole(self) -> CallbackSettings:
        if self.notify_url:
            check_url(self.notify_url, "notify_url")
        if bool(self.notify_url) != bool(self.notify_secret_file):
            raise ValueError("notify_url and notify_secret_file: both or neither, requests are signed")
        if self.notify_command and not self.notify_command[0]:
            raise ValueError("notify_command: its first word is the program")
        return self
