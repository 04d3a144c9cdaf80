"""A voice service that breaks its own protocol, in whole calls: each goes on, and the ledger says what happened."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from rtp.g711 import Pcm, encode_pcmu
from tests.peers.agent import Agent
from tests.peers.conftest import StartSipp
from tests.peers.hand_service import HandService, Talk
from tests.peers.phone import Phone
from tests.postgres import create_database, drop_database

pytestmark = pytest.mark.peer

LONG = "i" * 100_000


def noise(seconds: float, seed: int) -> Pcm:
    """Like nothing else but itself."""
    samples = np.random.default_rng(seed).normal(0, 4000, round(seconds * 8000))
    return np.clip(samples, -32000, 32000).astype(np.int16)


FIRST, SECOND, THIRD = (noise(0.5, seed) for seed in (1, 2, 3))


async def odd_words(talk: Talk) -> None:
    """In the wrong order, for items of nobody, empty, of NUL characters, twice, and with how sure it is."""
    await talk.say("r1", "a1", FIRST, "Wel\x00come.")
    for item, before in (("u1", "a1"), ("u2", "u1"), ("u3", "u2"), ("u4", "u3")):
        await talk.send("input_audio_buffer.committed", item_id=item, previous_item_id=before)
        await talk.item(item, "user", before)
    await talk.heard("u2", "Two.", logprobs=[{"token": "T", "logprob": math.log(0.5), "bytes": [1]}] * 2)
    await talk.heard("nobody", "From nowhere.")
    await talk.heard("u1", "One\x00.")
    await talk.heard("u1", "One, again.")
    await talk.heard("u3", "")
    await talk.heard("u4", "\x00\x00")
    await talk.send("conversation.item.input_audio_transcription.delta", item_id=LONG, delta="x")
    await talk.words("r9", "a9", "Said by nobody.")


async def unannounced_audio(talk: Talk) -> None:
    """Of an item and a response that nobody has heard of; the next answer is as ever."""
    await talk.sound("r1", "a1", FIRST)
    await talk.send(
        "response.output_audio.done", response_id="r1", item_id="a1", output_index=0, content_index=0
    )
    await talk.say("r2", "a2", SECOND, "Welcome.")


async def two_at_once(talk: Talk) -> None:
    await talk.begin("r1", "a1")
    await talk.begin("r2", "a2")
    half = len(FIRST) // 2
    for part in (slice(0, half), slice(half, None)):
        await talk.sound("r1", "a1", FIRST[part])
        await talk.sound("r2", "a2", SECOND[part])
    for number, words in ((2, "Two."), (1, "One.")):
        await talk.words(f"r{number}", f"a{number}", words)
        await talk.end(f"r{number}", f"a{number}")
    await talk.say("r3", "a3", THIRD, "Three.")


BENIGN = (
    (
        "conversation_already_has_active_response",
        "Conversation already has an active response in progress: r1.",
    ),
    ("response_cancel_not_active", "Cancellation failed: no active response found"),
    ("input_audio_buffer_commit_empty", "Error committing input audio buffer: buffer too small."),
    ("item_truncate_invalid_item_id", "Item with item_id not found"),
    ("invalid_value", "Audio content of 500ms is already shorter than 900ms"),
)


async def errors_without_need(talk: Talk) -> None:
    await talk.begin("r1", "a1")
    for code, message in BENIGN:
        await talk.send("error", error={"type": "invalid_request_error", "code": code, "message": message})
    await talk.send("error", error={"type": "weather", "code": "it_rains", "message": "It rains."})
    await talk.send("error", error="not even an object")
    await talk.sound("r1", "a1", FIRST)
    await talk.words("r1", "a1", "Welcome.")
    await talk.end("r1", "a1")


async def odd_tools(talk: Talk) -> None:
    """One that does not exist, and arguments of every unfit kind; one call comes twice."""
    await talk.begin("r1", "a1")
    calls = {
        "c1": ("teleport", "{}"),
        "c2": ("tele\x00port", '{"to": "\\u0000"}'),
        "c3": ("set_language", "{not JSON"),
        "c4": ("set_language", '{"language": "' + "x" * 1_000_000 + '"}'),
        "c5": ("set_language", '{"language": "French"}'),
        "c6": ("wrap_up", '["a list"]'),
    }
    for number, (call, (name, arguments)) in enumerate(calls.items()):
        await talk.call_tool("r1", f"f{number}", call, name, arguments)
    await talk.call_tool("r1", "f0", "c1", "teleport", "{}")
    await talk.sound("r1", "a1", FIRST)
    await talk.end("r1", "a1")
    await talk.until("response.create")
    await talk.say("r2", "a2", SECOND, "Sorry.")


async def numbers_out_of_this_world(talk: Talk) -> None:
    """Events about what there is not, with numbers and names that no column holds; then one answer."""
    await talk.send("input_audio_buffer.speech_stopped", item_id="u1", audio_end_ms=-5)
    for item, start_ms, end_ms in ((LONG, 2**63, 2**64 - 1), ("\x00", 7, -7)):
        await talk.send("input_audio_buffer.speech_started", item_id=item, audio_start_ms=start_ms)
        await talk.send("input_audio_buffer.speech_stopped", item_id=item, audio_end_ms=end_ms)
        await talk.send("input_audio_buffer.committed", item_id=item, previous_item_id=LONG)
    await talk.send("conversation.item.truncated", item_id="a7", content_index=0, audio_end_ms=2**40)
    await talk.send("conversation.item.deleted", item_id="a7")
    await talk.send(
        "response.done", response={"id": "r8", "status": "sublime", "output": [], "usage": {"x": "\x00"}}
    )
    await talk.send("response.done", response={"id": "r8", "status": "completed", "output": []})
    await talk.send("rate_limits.updated", rate_limits=[{"name": "\x00", "remaining": -1}])
    await talk.say("r1", "a1", FIRST, "Welcome.")


CALLERS = {
    "+12025550101": odd_words,
    "+12025550102": unannounced_audio,
    "+12025550103": two_at_once,
    "+12025550104": errors_without_need,
    "+12025550105": odd_tools,
    "+12025550106": numbers_out_of_this_world,
}
WAVES = (tuple(CALLERS)[:4], tuple(CALLERS)[4:])  # PyPI's build has four calls
Call = tuple[dict[str, Any], str, Talk]  # row, what was heard as letters, session


@pytest.fixture(scope="module")
def rude() -> Iterator[HandService]:
    with HandService(CALLERS) as service:
        yield service


@pytest.fixture(scope="module")
def agent_of_rude(
    tmp_path_factory: pytest.TempPathFactory, rude: HandService, postgres_server: str, template: str
) -> Iterator[Agent]:
    dsn = create_database(postgres_server, template)
    folder = tmp_path_factory.mktemp("rude")
    agent = Agent(
        folder / "agent",
        dsn,
        rude.base_url,
        trunks={"plain": '["127.0.0.1/32"]'},
        SIPUA_REALTIME__INSTRUCTIONS="You talk with {{caller}}.",
    )
    yield agent
    agent.end()
    drop_database(postgres_server, dsn)


@pytest.fixture
def talk_to(agent_of_rude: Agent, rude: HandService, sipp: StartSipp) -> Callable[..., dict[str, Call]]:
    def talk(numbers: tuple[str, ...]) -> dict[str, Call]:
        """All at once; what was heard is the letters of the sounds that were heard whole, in order."""
        with ExitStack() as stack:
            phones = {number: stack.enter_context(Phone()) for number in numbers}
            callers = {
                number: sipp(agent_of_rude.sip, "call", rtp_port=phone.port, caller=number, duration_ms=3500)
                for number, phone in phones.items()
            }
            rows = {
                number: agent_of_rude.closed_call(caller.wait().call_id) for number, caller in callers.items()
            }
        sounds = {name: encode_pcmu(sound) for name, sound in (("1", FIRST), ("2", SECOND), ("3", THIRD))}
        found = {}
        for number, phone in phones.items():
            heard = b"".join(each.payload for each in phone.heard)
            places = sorted((heard.find(sound), name) for name, sound in sounds.items() if sound in heard)
            found[number] = (rows[number], "".join(name for _, name in places), rude.talks[number])
        return found

    return talk


def told(agent: Agent, call: dict[str, Any]) -> list[tuple[str, str]]:
    rows = agent.select("SELECT * FROM transcripts WHERE call_id = %s ORDER BY t", call["id"])
    return [(row["role"], row["content"]) for row in rows]


def reasons(agent: Agent, call: dict[str, Any]) -> list[str]:
    query = "SELECT payload ->> 'reason' AS reason FROM voice_events WHERE call_id = %s AND type = 'error' ORDER BY t"
    return [row["reason"] for row in agent.select(query, call["id"])]


def tool_calls(agent: Agent, call: dict[str, Any]) -> list[tuple[str, bool, str]]:
    """Name, success, and how its error begins."""
    rows = agent.select("SELECT * FROM mcp_tool_calls WHERE call_id = %s ORDER BY t", call["id"])
    return [(row["tool"], row["success"], (row["error"] or "").partition(":")[0]) for row in rows]


def test_words_sounds_and_errors(talk_to: Callable[..., dict[str, Call]], agent_of_rude: Agent) -> None:
    agent = agent_of_rude
    calls = talk_to(WAVES[0])
    words, unannounced, two, errors = calls.values()
    for call, _, talk in calls.values():
        assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
        assert talk.faults == []

    assert told(agent, words[0]) == [
        ("assistant", "Welcome."),
        ("user", "One."),
        ("user", "Two."),
        ("user", "From nowhere."),
        ("assistant", "Said by nobody."),
    ]
    query = "SELECT content, confidence FROM transcripts WHERE call_id = %s AND confidence IS NOT NULL"
    assert [(row["content"], float(row["confidence"])) for row in agent.select(query, words[0]["id"])] == [
        ("Two.", 0.5)
    ]

    assert (unannounced[1], told(agent, unannounced[0])) == ("12", [("assistant", "Welcome.")])
    assert two[1] == "123"  # one after the other, though they came mixed
    assert [content for _, content in told(agent, two[0])] == ["One.", "Two.", "Three."]
    assert (errors[1], told(agent, errors[0])) == ("1", [("assistant", "Welcome.")])
    assert (
        reasons(agent, errors[0]) == ["service_error"] * 2
    )  # those that nobody knows; the others are no news
    for call, _, _ in calls.values():
        assert [session["status"] for session in agent.sessions(call)] == ["completed"]


def test_tools_and_numbers(talk_to: Callable[..., dict[str, Call]], agent_of_rude: Agent) -> None:
    agent = agent_of_rude
    calls = talk_to(WAVES[1])
    tools, numbers = calls.values()
    for call, _, talk in calls.values():
        assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
        assert talk.faults == []

    assert tools[1] == "12"
    assert tool_calls(agent, tools[0]) == [
        ("teleport", False, "there is no tool named teleport"),
        ("teleport", False, "there is no tool named teleport"),
        ("set_language", False, "the arguments are not JSON"),
        ("set_language", False, "the arguments are too long"),
        ("set_language", True, ""),
        ("wrap_up", False, "the arguments are not a JSON object"),
    ]
    outputs = [
        event["item"]["call_id"]
        for event in tools[2].sent
        if event.get("item", {}).get("type") == "function_call_output"
    ]
    assert sorted(outputs) == ["c1", "c2", "c3", "c4", "c5", "c6"]
    assert (numbers[1], told(agent, numbers[0])) == ("1", [("assistant", "Welcome.")])
