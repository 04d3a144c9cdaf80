"""The dashboard in real Chromium: an agent as a user runs it, calls by the softphone, the voice service's emulator."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from playwright.sync_api import Browser, expect
from psycopg.types.json import Jsonb

from sipua.resources import shipped_speech
from sipua.web.guard import Role
from tests.peers.agent import Agent, Emulator
from tests.peers.browser import DESK, PHONE, Visitor, chromium, visiting, write_tokens
from tests.peers.conftest import need
from tests.postgres import create_database, drop_database

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'><svg/onload=alert(3)>"
VIEWS = ("live", "history", "trunks", "cost")


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, emulator: Emulator, postgres_server: str, template: str
) -> Iterator[Agent]:
    """An agent with a dashboard."""
    need("chromium")
    folder = tmp_path_factory.mktemp("dashboard")
    dsn = create_database(postgres_server, template)
    tokens = str(write_tokens(folder / "tokens"))
    agent = Agent(
        folder / "agent", dsn, emulator.base_url, SIPUA_HTTP__TOKENS_FILE=tokens, SIPUA_TIMEZONE="Africa/Kigali",
        SIPUA_CURRENCY__CODE="RWF", SIPUA_CURRENCY__PER_USD="1450",
    )  # fmt: skip
    with psycopg.connect(dsn) as connection:
        for number in range(120):
            insert_call(connection, number, started_at=datetime.now(UTC) - timedelta(hours=1, minutes=number))
    yield agent
    agent.end()
    drop_database(postgres_server, dsn)


@pytest.fixture(scope="module")
def browser(site: Agent) -> Iterator[Browser]:
    """After the agent: Playwright's loop runs as long as it is there, and others' cannot."""
    with chromium() as found:
        yield found


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visitor]:
    with visiting(browser) as found:
        yield found


def insert_call(
    connection: psycopg.Connection[Any], number: int, *, started_at: datetime, **values: Any
) -> str:
    """A call that is over, as another writer may have left it."""
    id = str(uuid4())
    row = {
        "id": id, "direction": "inbound", "from_e164": f"+25078812{number:04}", "to_e164": "+250788000000",
        "trunk": "plain", "status": "completed", "channel": "voice", "outcome": "caller_hangup",
        "duration_seconds": 60, "started_at": started_at,
        "ended_at": started_at + timedelta(seconds=60), "metadata": Jsonb({"usage": {"cost_usd": 0.01}}),
    } | values  # fmt: skip
    names = ", ".join(row)
    places = ", ".join(f"%({name})s" for name in row)
    connection.execute(f"INSERT INTO voice_calls ({names}) VALUES ({places})".encode(), row)
    return id


@contextmanager
def calling(agent: Agent, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody who calls, speaks after the greeting and stays."""
    command = [
        sys.executable, "-m", "sipua", "call", f"sip:+250788000000@{agent.sip}", "--play",
        str(shipped_speech("moto_en.wav")), "--after-greeting", "--duration", "40", "--json",
    ]  # fmt: skip
    with log.open("wb") as stderr:
        phone = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        yield phone
    finally:
        phone.kill()
        phone.wait()


# ---- logging in and out ------------------------------------------------------------------------------------------


def test_a_wrong_token_is_refused_and_a_right_one_becomes_a_cookie(visitor: Visitor, site: Agent) -> None:
    page = visitor.open(site).page
    page.get_by_label("Token").fill("sipua_wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("not known")
    expect(page.get_by_label("Token")).to_be_focused()
    visitor.log_in()
    expect(page.get_by_role("heading", name="Live calls")).to_be_visible()
    kept = page.evaluate("[document.cookie, localStorage.length, sessionStorage.length, location.href]")
    assert kept == ["", 0, 0, f"http://{site.ready['http']}/dashboard/#/live"]
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/dashboard")
    page.reload()
    expect(page.get_by_role("heading", name="Live calls")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Token")).to_be_visible()


def test_a_session_that_ends_takes_the_page_to_the_login(visitor: Visitor, site: Agent) -> None:
    page = visitor.open(site).log_in().page
    expect(page.get_by_text("Live", exact=True).last).to_be_visible()
    page.context.clear_cookies()
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("alert")).to_contain_text("has ended")
    expect(page.get_by_label("Token")).to_be_focused()


def test_who_may_only_read_is_offered_nothing_else(visitor: Visitor, site: Agent) -> None:
    page = visitor.open(site, "history").log_in(Role.READ).page
    page.get_by_role("table").get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    expect(page.get_by_role("button", name="Show the numbers")).to_have_count(0)


# ---- calls -------------------------------------------------------------------------------------------------------


def test_a_call_appears_its_transcript_grows_and_it_is_hung_up(
    visitor: Visitor, site: Agent, tmp_path: Path
) -> None:
    page = visitor.open(site).log_in().page
    expect(page.get_by_text("Nobody is on the line.")).to_be_visible()
    with calling(site, tmp_path / "phone.log") as phone:
        card = page.get_by_role("article")
        expect(card).to_have_count(1)
        expect(card).to_contain_text("talking")
        lines = card.get_by_role("log").get_by_role("listitem")
        expect(lines).to_have_count(1)
        assert card.get_by_role("log").get_attribute("aria-live") == "polite"
        expect(lines.nth(2)).to_be_visible(timeout=30_000)  # greeting, question, answer
        card.get_by_role("button", name="Hang up").click()
        page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
        expect(card).to_contain_text("talking")
        card.get_by_role("button", name="Hang up").click()
        page.get_by_role("dialog").get_by_role("button", name="Hang up").click()
        expect(card).to_contain_text("operator hangup")
        phone.wait(15)
    row = site.select("SELECT id, outcome FROM voice_calls ORDER BY started_at DESC LIMIT 1")[0]
    assert row["outcome"] == "operator_hangup"
    card.get_by_role("link").click()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("gpt-realtime")
    expect(page.get_by_role("img").first).to_be_visible()  # a plot …
    page.get_by_text("Values as a table").first.click()
    expect(page.get_by_role("table").first).to_be_visible()  # … and the same as a table
    site.idle()


def test_history_is_turned_page_by_page_filtered_and_sorted(visitor: Visitor, site: Agent) -> None:
    page = visitor.open(site, "history").log_in().page
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(50)
    first = rows.first.inner_text()
    page.get_by_role("button", name="Older").click()
    expect(page.get_by_text("Page 2")).to_be_visible()
    assert rows.first.inner_text() != first
    page.get_by_role("button", name="Newer").click()
    expect(page.get_by_text("Page 1")).to_be_visible()
    page.get_by_label("Last digits").fill("120007")
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_count(1)
    assert "digits=120007" in page.url
    expect(rows.first).to_contain_text("+250*****0007")
    page.get_by_label("Last digits").fill("")
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_count(50)
    page.get_by_role("columnheader", name="From").get_by_role("button").click()
    expect(page.get_by_role("columnheader", name="From")).to_have_attribute("aria-sort", "ascending")
    numbers = page.locator('td[data-label="From"]').all_inner_texts()
    assert numbers == sorted(numbers)


def test_numbers_are_masked_until_an_operator_asks_for_them(visitor: Visitor, site: Agent) -> None:
    answers: list[str] = []
    visitor.page.on("response", lambda answer: answers.append(answer.url))
    page = visitor.open(site, "history?digits=120007").log_in().page
    page.get_by_role("table").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("+250*****0007")
    assert "+250788120007" not in page.content()
    page.get_by_role("button", name="Show the numbers").click()
    expect(page.get_by_text("+250788120007")).to_be_visible()
    assert not any("120007" in url for url in answers if "/calls/" in url)


def test_html_in_every_field_is_text(visitor: Visitor, site: Agent) -> None:
    with psycopg.connect(site.database) as connection:
        id = insert_call(
            connection, 9999, started_at=datetime.now(UTC), from_e164=EVIL, to_e164=EVIL, trunk=EVIL, outcome=EVIL,
            intent=EVIL, last_note=EVIL, locale=EVIL, country=EVIL, sip_session_id=EVIL, provider=EVIL,
            handoff=True, handoff_target=EVIL, twilio_call_sid=EVIL,
            metadata=Jsonb(
                {"usage": {"cost_usd": EVIL}, "rtp": {"quality": EVIL, "far_end": EVIL, "received": EVIL},
                 "quality": {"from": EVIL, "points": [{"at_s": 1, "mos": EVIL}], "turns": [{"at_s": 1, "ms": EVIL}]}}
            ),
        )  # fmt: skip
        connection.execute(
            "INSERT INTO transcripts (call_id, role, content, t) VALUES (%s, 'user', %s, now())", (id, EVIL)
        )
        connection.execute(
            "INSERT INTO voice_events (call_id, type, payload) VALUES (%s, 'error', %s)",
            (id, Jsonb({"reason": EVIL, "message": EVIL})),
        )
        connection.execute(
            "INSERT INTO mcp_tool_calls (call_id, tool, error, success, t) VALUES (%s, %s, %s, false, now())",
            (id, EVIL, EVIL),
        )
        connection.execute(
            "INSERT INTO openai_sessions (call_id, session_id, model, voice) VALUES (%s, %s, %s, %s)",
            (id, str(uuid4()), EVIL, EVIL),
        )
    page = visitor.open(site, "history").log_in().page
    expect(page.locator("tbody tr").first).to_contain_text("onerror=alert(1)")
    page.locator("tbody tr").first.get_by_role("link").click()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    expect(page.locator(".timeline")).to_contain_text("<script>alert(2)</script>")
    assert page.locator("main img, main script, main svg[onload]").count() == 0
    with psycopg.connect(site.database) as connection:  # a call of another process that is up
        connection.execute(
            "UPDATE voice_calls SET ended_at = NULL, status = 'in_progress' WHERE id = %s", (id,)
        )
    page.get_by_role("link", name="Live", exact=True).click()
    expect(page.get_by_role("article")).to_contain_text("<script>alert(2)</script>")
    expect(page.get_by_role("article")).to_contain_text("on another process")
    assert page.locator("main img, main script, main svg").count() == 0
    with psycopg.connect(site.database) as connection:
        connection.execute("UPDATE voice_calls SET ended_at = now(), status = 'failed' WHERE id = %s", (id,))
    expect(page.get_by_role("article").filter(has_text="talking")).to_have_count(0)


# ---- whoever looks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_scrolls_sideways_on_a_phone(browser: Browser, site: Agent, view: str) -> None:
    with visiting(browser, PHONE) as visitor:
        page = visitor.open(site, view).log_in().page
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.wait_for_load_state()
        assert not visitor.is_too_wide()


def test_all_is_reached_by_the_keyboard_alone(visitor: Visitor, site: Agent) -> None:
    page = visitor.open(site).page
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type("sipua_of_an_operator")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Live calls")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Live calls")).to_be_visible()
    page.locator("body").press("Tab")

    def focused() -> str:
        return str(page.evaluate("document.activeElement.textContent || document.activeElement.tagName"))

    seen = [focused()]
    for _ in range(12):
        page.keyboard.press("Tab")
        seen.append(focused())
    for name in ("Live", "History", "Trunks", "Cost", "Log out"):
        assert name in seen, seen
    page.keyboard.press("Shift+Tab")
    page.get_by_role("link", name="History").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Call history")).to_be_visible()
    expect(page.get_by_role("main")).to_be_focused()
    page.get_by_role("link", name="Skip").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    expect(page.get_by_role("heading", name="Call history")).to_be_visible()


def test_after_a_restart_the_page_comes_back_by_the_login(
    browser: Browser, site: Agent, start_agent: Callable[..., Agent], emulator: Emulator, tmp_path: Path
) -> None:
    tokens = {"SIPUA_HTTP__TOKENS_FILE": str(write_tokens(tmp_path / "tokens"))}
    first = start_agent(emulator.base_url, **tokens)
    port = first.ready["http"].rpartition(":")[2]
    with visiting(browser) as visitor:
        page = visitor.open(first).log_in().page
        connection = page.locator("#connection")
        expect(connection).to_have_text("Live")
        first.end()  # in time, though somebody looks on
        expect(connection).to_have_text("Connecting …")
        start_agent(emulator.base_url, SIPUA_HTTP__PORT=port, **tokens)
        expect(page.get_by_label("Token")).to_be_visible(timeout=20_000)
        visitor.log_in()
        expect(connection).to_have_text("Live")


# ---- judged by axe-core ------------------------------------------------------------------------------------------

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
POINTS = [{"at_s": 5 * n, "mos": 4.3 - n / 10, "loss_percent": n / 2, "jitter_ms": 3.0} for n in range(1, 9)]
MEASURED = {"points": POINTS, "turns": [{"at_s": 7, "ms": 420}, {"at_s": 14, "ms": 900}]}


@pytest.mark.parametrize(("dark", "size"), [(False, DESK), (True, PHONE)], ids=["light desk", "dark phone"])
def test_axe_finds_no_fault_in_any_view(
    browser: Browser, site: Agent, dark: bool, size: dict[str, int]
) -> None:
    axe = (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
    with psycopg.connect(site.database) as connection:
        id = insert_call(connection, 1, started_at=datetime.now(UTC), metadata=Jsonb({"quality": MEASURED}))
    found: dict[str, list[Any]] = {}

    def judge(view: str) -> None:
        page.evaluate(axe)
        told = page.evaluate("rules => axe.run(document, { runOnly: rules })", RULES)
        assert len(told["passes"]) > 20
        found[view] = [
            (each["id"], [node["target"] for node in each["nodes"]]) for each in told["violations"]
        ]

    with visiting(browser, size, dark=dark, is_judged=True) as visitor:
        page = visitor.open(site).page
        expect(page.get_by_label("Token")).to_be_visible()
        judge("login")
        visitor.log_in()
        headings = {
            "live": "Live calls",
            "history": "Call history",
            "trunks": "Trunks",
            "cost": "Cost per day",
        }
        for view, heading in headings.items():
            page.goto(f"http://{site.ready['http']}/dashboard/#/{view}")
            expect(page.get_by_role("heading", level=1, name=heading)).to_be_visible()
            if view == "history":
                expect(page.locator("tbody tr")).to_have_count(50)
            judge(view)
        page.goto(f"http://{site.ready['http']}/dashboard/#/call/{id}")
        expect(page.get_by_role("img")).to_have_count(4)
        judge("call")
        with psycopg.connect(site.database) as connection:
            connection.execute(
                "UPDATE voice_calls SET ended_at = NULL, status = 'in_progress' WHERE id = %s", (id,)
            )
        page.get_by_role("link", name="Live", exact=True).click()
        expect(page.get_by_role("article").filter(has_text="talking")).to_have_count(1)
        judge("a live call")
        with psycopg.connect(site.database) as connection:
            connection.execute(
                "UPDATE voice_calls SET ended_at = now(), status = 'failed' WHERE id = %s", (id,)
            )
    assert {view: faults for view, faults in found.items() if faults} == {}
