"""Debian's Chromium, driven by Playwright, and an agent whose dashboard it opens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, expect, sync_playwright

from sipua.web.tokens import Role, digest_of
from tests.peers.agent import Agent

PROGRAM = "chromium"
SECRETS = {
    Role.READ: "sipua_of_a_reader",
    Role.OPERATE: "sipua_of_an_operator",
    Role.INGEST: "sipua_of_a_writer",
}
PATIENCE_MS = 25_000
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 860}


def write_tokens(file: Path) -> Path:
    """One token for each role, named like it."""
    lines = [f"{role.value} {role.value} {digest_of(secret)}" for role, secret in SECRETS.items()]
    file.touch(0o600)
    file.write_text("\n".join(lines) + "\n")
    return file


@contextmanager
def chromium() -> Iterator[Browser]:
    """As root it has no sandbox."""
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which(PROGRAM), args=[*flags, "--disable-gpu", "--disable-dev-shm-usage"]
        )
        expect.set_options(timeout=PATIENCE_MS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visitor:
    """Somebody at a browser of their own; ``odd`` is what a page must not do."""

    page: Page
    odd: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("dialog", self._dialog)
        self.page.on("pageerror", lambda error: self.odd.append(f"error: {error}"))
        self.page.on("console", self._console)

    def open(self, agent: Agent, view: str = "live") -> Visitor:
        self.page.goto(f"http://{agent.ready['http']}/dashboard/#/{view}")
        return self

    def log_in(self, role: Role = Role.OPERATE) -> Visitor:
        self.page.get_by_label("Token").fill(SECRETS[role])
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("navigation", name="Views").wait_for()
        return self

    def is_too_wide(self) -> bool:
        """Whether the page scrolls sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))

    def _dialog(self, dialog: Dialog) -> None:
        self.odd.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _console(self, message: ConsoleMessage) -> None:
        # the browser's own words about answers that are no 2xx, and connections that are gone
        if (
            message.type == "error"
            and "Failed to load resource" not in message.text
            and "net::" not in message.text
        ):
            self.odd.append(f"console: {message.text}")


@contextmanager
def visiting(
    browser: Browser, size: dict[str, int] = DESK, *, dark: bool = False, is_judged: bool = False
) -> Iterator[Visitor]:
    """A browser of one's own: nothing is left of it. ``is_judged``: scripts of a judge may run in its pages."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(
        viewport=size,  # type: ignore[arg-type]
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
        bypass_csp=is_judged,
    )
    visitor = Visitor(context.new_page())
    try:
        yield visitor
    finally:
        context.close()
    assert not visitor.odd, visitor.odd
