"""A conversation of 70 minutes in simulated time: the cap is passed, and the network fails twice."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtp.codec import CODECS
from rtp.playout import Playout
from sipua.actions import CallTool, CreateResponse, EndCall, IgnoreResponse, Spoken, Truncate
from sipua.conversation import Conversation
from sipua.errors import RealtimeClosed, RealtimeError, RealtimeRefused, RealtimeUnreachable, SipuaError
from sipua.keys import KeyRules
from sipua.realtime import events as ev
from sipua.realtime.backend import VoiceSession
from sipua.realtime.commands import function_output_item
from sipua.realtime.config import SessionConfig, Transcription
from sipua.realtime.continuity import Rules
from sipua.realtime.emulator.script import Script, parse_script
from sipua.realtime.events import AudioDelta
from sipua.realtime.hints import as_change
from sipua.transcript import Segment
from sipua.voice_events import EVENTS_MAX
from sipua.voice_link import VoiceLink
from sipua.voice_sessions import Plan
from tests.emulator.driven import recorded, ulaw
from tests.fleet.virtual import VirtualClock, run
from tests.link.fake import FakeBackend

QUESTION = ulaw(recorded("question_en.wav")[:14400])
SAMPLES = CODECS["PCMU"].decode(QUESTION).astype("<i2").tobytes()
SILENCE = b"\xff"
FRAME = 800  # 100 ms
BUSY = RealtimeUnreachable("busy")


def script_of(turns: int) -> Script:
    told = [
        f'[[turn]]\nuser = "Question {n}"\nsay = "Answer number {n} to the caller of today"\n'
        for n in range(turns)
    ]
    return parse_script(
        'user_prefix = ""\n[greeting]\nsay = "Hello there my friend"\n' + "".join(told), "simulated.toml"
    )


@dataclass
class Watch:
    """``Observer``."""

    opened_for: list[str] = field(default_factory=list)
    open_ids: set[str] = field(default_factory=set)
    ended_as: list[bool] = field(default_factory=list)
    faults: list[RealtimeError] = field(default_factory=list)
    outages: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    comforts: int = 0

    def opened(self, session: VoiceSession, why: str, connect_s: float) -> None:
        self.opened_for.append(why)
        self.open_ids.add(session.session_id)

    def ended(self, session: VoiceSession, *, failed: bool) -> None:
        self.open_ids.remove(session.session_id)
        self.ended_as.append(failed)

    def fault(self, error: RealtimeError) -> None:
        self.faults.append(error)

    def outage(self, seconds: float) -> None:
        self.outages.append(seconds)

    def answered(self, item_id: str, seconds: float) -> None:
        self.latencies.append(seconds)

    def comfort(self) -> None:
        self.comforts += 1


class Phone:
    """A caller who speaks when told to, and the agent's side of the call: link, conversation, playout."""

    def __init__(
        self,
        backend: FakeBackend,
        *,
        greeting: str = "Greet.",
        tools: tuple[dict[str, Any], ...] = (),
        budget_s: float = 20.0,
    ) -> None:
        self.backend = backend
        self.watch = Watch()
        self.said: list[Segment] = []
        self.received: list[tuple[str, int]] = []  # audio of the agent: item and length in ms
        self.frames = 0
        self.calls: list[CallTool] = []
        self.playout = Playout(CODECS["PCMU"])
        self.conversation = Conversation(self.playout, greeting=greeting, keys=KeyRules())
        config = SessionConfig(
            "gpt-realtime-2.1", "Be kind.", tools=tools, transcription=Transcription("gpt-transcribe")
        )
        self.config = config
        plan = Plan(lambda: self.config, 4.0, Rules(budget_s=budget_s), lambda: 0.5)
        self.link = VoiceLink(backend, plan, self.watch, VirtualClock(), self._hear)
        self.ended: BaseException | None = None

    def _hear(self, delta: AudioDelta) -> None:
        self.received.append((delta.item_id, len(delta.audio) // 8))
        self.playout.append(delta.item_id, delta.audio)

    async def talk(self, scene: Any) -> None:
        await self.link.open()
        tasks = [asyncio.create_task(self._converse()), asyncio.create_task(self._pace())]
        self._perform(self.conversation.begin())
        try:
            await scene(self)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.link.close()

    async def _converse(self) -> None:
        try:
            async for event in self.link.events():
                self._perform(self.conversation.on_event(event, VirtualClock().now()))
                assert self.link.config.model  # a call asks its session at any time
        except RealtimeError as error:
            self.ended = error

    async def _pace(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            for _ in range(5):
                self.frames += self.playout.next_frame() is not None

    def _perform(self, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case Spoken(segment):
                    self.said.append(segment)
                case CreateResponse(instructions):
                    self.link.response_create(instructions)
                case IgnoreResponse(response_id):
                    self.link.ignore_response(response_id)
                case Truncate(item_id, ms):
                    self.link.truncate(item_id, 0, ms)
                case CallTool():
                    self.calls.append(action)
                case EndCall(error):
                    raise error

    async def speak(self, audio: bytes = QUESTION, pause_s: float = 0.8) -> None:
        """In real time, with so much silence after it."""
        audio += SILENCE * round(pause_s * 8000)
        for at in range(0, len(audio), FRAME):
            self.link.append(audio[at : at + FRAME])
            await asyncio.sleep(0.1)

    @property
    def session(self) -> Any:
        """The one that hears the caller."""
        return self.backend.sessions[-1]

    def words(self, role: str) -> list[str]:
        return [
            each.content for each in sorted(self.said, key=lambda each: each.sequence) if each.role == role
        ]


def test_seventy_minutes_with_a_rotation_and_two_losses() -> None:
    phone = Phone(FakeBackend(script_of(70)))

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(5)
        for minute in range(70):
            if minute == 4:
                phone.session.break_off()
            loop = asyncio.get_running_loop()
            if minute == 66:  # in the middle of a word
                loop.call_later(0.8, phone.session.break_off)
            began = loop.time()
            await phone.speak()
            await asyncio.sleep(60 + began - loop.time())

    run(lambda: phone.talk(scene))
    assert phone.ended is None
    assert phone.words("user") == [f"Question {n}" for n in range(70)]
    assert phone.words("assistant") == ["Hello there my friend"] + [
        f"Answer number {n} to the caller of today" for n in range(70)
    ]
    assert phone.watch.opened_for == ["first", "reconnect", "rotation", "reconnect"]
    assert sorted(phone.watch.ended_as) == [False, False, True, True]
    assert not phone.watch.open_ids
    assert max(phone.watch.outages) < 1.0
    assert len(phone.watch.latencies) == 70
    assert all(0 < each < 2 for each in phone.watch.latencies)  # none of an answer to something else
    first, second, third, fourth = (each.heard().count(SAMPLES) for each in phone.backend.sessions)
    assert (first, second + third, fourth) == (4, 62, 4)  # each question whole, once, and by who answered it
    spoken = {line.say: clip.duration_ms for line, clip in phone.backend.speech.items()}
    assert sum(ms for _, ms in phone.received) == sum(spoken[text] for text in phone.words("assistant"))


def test_an_answer_that_is_cut_off_is_finished_once() -> None:
    phone = Phone(FakeBackend(script_of(2)))

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(3)
        await phone.speak()  # the answer is under way at its end: 4 times as fast as it is played
        await asyncio.sleep(0.35)
        phone.session.break_off()
        await asyncio.sleep(8)
        await phone.speak()
        await asyncio.sleep(5)

    run(lambda: phone.talk(scene))
    hello, first, rest, second = phone.words("assistant")
    assert (hello, second) == ("Hello there my friend", "Answer number 1 to the caller of today")
    assert f"{first} {rest}" == "Answer number 0 to the caller of today"
    assert phone.words("user") == ["Question 0", "Question 1"]
    whole_ms = 8 * 400  # words
    heard_ms = sum(ms for _, ms in phone.received) - (4 + 8) * 400
    assert abs(heard_ms - whole_ms) <= 400  # a word: what was said when is an estimate


def test_what_is_said_while_there_is_no_session_is_heard_by_the_next() -> None:
    phone = Phone(FakeBackend(script_of(2)))
    phone.backend.refusals = {2: BUSY, 3: BUSY, 4: BUSY}

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(4)
        phone.session.break_off()
        await phone.speak()
        await asyncio.sleep(6)

    run(lambda: phone.talk(scene))
    assert phone.words("user") == ["Question 0"]
    assert phone.words("assistant") == ["Hello there my friend", "Answer number 0 to the caller of today"]
    assert (len(phone.watch.faults), phone.watch.comforts) == (3, 1)
    assert phone.session.heard().count(SAMPLES) == 1  # from its first sample


def test_a_refusal_for_good_ends_the_search() -> None:
    phone = Phone(FakeBackend(script_of(1)))
    phone.backend.refusals = {2: BUSY, 3: RealtimeRefused("no money", code="insufficient_quota")}

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(4)
        phone.session.break_off()
        await asyncio.sleep(30)

    run(lambda: phone.talk(scene))
    assert phone.ended is phone.backend.refusals[3]
    assert phone.backend.tries == 3


def test_nothing_is_found_within_the_budget() -> None:
    phone = Phone(FakeBackend(script_of(1)), budget_s=5.0)
    phone.backend.refusals = dict.fromkeys(range(2, 100), BUSY)

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(4)
        phone.session.break_off()
        await asyncio.sleep(4.9)
        assert phone.ended is None
        await asyncio.sleep(0.2)

    run(lambda: phone.talk(scene))
    assert isinstance(phone.ended, RealtimeClosed)
    assert phone.watch.comforts == 1


def test_an_interruption_after_the_change_cuts_what_only_the_former_session_had_as_sound() -> None:
    """The greeting is played for 1.6 s more when its session goes; the next one knows it as text."""
    phone = Phone(FakeBackend(script_of(1)))

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(0.9)  # all of it has come, a third has been played
        phone.session.break_off()
        await asyncio.sleep(0.2)
        await phone.speak()
        await asyncio.sleep(4)

    run(lambda: phone.talk(scene))
    _, second = phone.backend.sessions
    greeting, question, *_ = second.conversation
    assert greeting["content"][0]["text"] in ("Hello there", "Hello there my")
    assert [each["type"] for each in second.sent].count("conversation.item.delete") == 1
    assert question["role"] == "user"
    assert (
        phone.words("assistant")[0] == "Hello there my friend"
    )  # the ledger's row was written when it was said


def test_a_language_that_changed_while_the_next_session_waited_is_its_language() -> None:
    phone = Phone(FakeBackend(script_of(2), cap_s=60.0))

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(34)
        asyncio.get_running_loop().call_later(
            4, change
        )  # it was opened at 36 s, and there is no quiet moment
        for _ in range(8):
            await phone.speak(pause_s=0.0)
        await asyncio.sleep(15)

    def change() -> None:
        assert len(phone.backend.sessions) == 2
        french = Transcription("gpt-transcribe", "fr")
        phone.config = replace(phone.config, instructions="Parlez.", transcription=french)
        phone.link.session_update({"instructions": "Parlez."})
        phone.link.session_update(as_change(french))

    run(lambda: phone.talk(scene))
    first, second = phone.backend.sessions
    assert phone.watch.opened_for == ["first", "rotation"]
    assert second.echoed["instructions"] == first.echoed["instructions"] == "Parlez."
    assert second.echoed["audio"]["input"]["transcription"]["language"] == "fr"


def test_changed_settings_reach_the_next_session() -> None:
    phone = Phone(FakeBackend(script_of(1)))
    detection = {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}}}

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(3)
        phone.link.session_update(detection)
        phone.link.session_update({"tool_choice": "none"})
        await asyncio.sleep(1)
        phone.session.break_off()
        await asyncio.sleep(2)

    run(lambda: phone.talk(scene))
    echoed = phone.session.echoed
    assert echoed["audio"]["input"]["turn_detection"]["threshold"] == 0.7
    assert echoed["tool_choice"] == "none"


@pytest.mark.parametrize("end", ["loss", "rotation"])
def test_a_tool_that_outlives_its_session_is_told_to_the_next(end: str) -> None:
    """A rotation waits for it until shortly before the cap."""
    script = parse_script(
        """user_prefix = ""
[[turn]]
user = "Book it"
say = "One moment please sir"
[turn.tool]
name = "book"
say = "It is booked for you now"
""",
        "tool.toml",
    )
    backend = FakeBackend(script, cap_s=20.0 if end == "rotation" else 3600.0)
    phone = Phone(backend, greeting="", tools=({"type": "function", "name": "book", "parameters": {}},))

    async def scene(phone: Phone) -> None:
        await phone.speak()
        await asyncio.sleep(3)
        (call,) = phone.calls
        if end == "loss":
            phone.session.break_off()
        await asyncio.sleep(1 if end == "loss" else 13)
        assert phone.watch.opened_for == ["first", "reconnect" if end == "loss" else "rotation"]
        output = function_output_item(call.call_id, '{"reference": "R7"}', "o1")
        phone.link.item_create(output)
        phone.link.response_create()
        await asyncio.sleep(3)

    run(lambda: phone.talk(scene))
    items = [item for item in phone.session.conversation if item["type"] != "message"]
    assert [item["type"] for item in items] == ["function_call", "function_call_output"]
    assert items[1]["output"] == '{"reference": "R7"}'


MUTE = [
    pytest.param(("no_response",), "Hello there my friend", id="never answers"),
    pytest.param(("stall=4",), "Hello there my friend", id="amid a response"),
]


@pytest.mark.parametrize(("faults", "words"), MUTE)
def test_a_session_that_lives_and_says_nothing_is_followed_by_another(
    faults: tuple[str, ...], words: str
) -> None:
    phone = Phone(FakeBackend(script_of(1)))
    phone.backend.faults = {0: faults}

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(55)
        await phone.speak()
        await asyncio.sleep(5)

    run(lambda: phone.talk(scene))
    assert phone.ended is None
    assert phone.watch.opened_for == ["first", "reconnect"]
    assert sorted(phone.watch.ended_as) == [False, True]
    assert phone.watch.comforts == 1
    assert phone.words("assistant") == [words, "Answer number 0 to the caller of today"]


def test_a_request_is_what_shows_that_a_session_is_mute() -> None:
    phone = Phone(FakeBackend(script_of(1)))
    phone.backend.faults = {0: ("stall=3.0s",)}

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(5)
        await phone.speak()  # nobody hears it
        await asyncio.sleep(10)
        phone.link.response_create("Ask whether the caller is still there.")
        await asyncio.sleep(9.9)
        assert phone.watch.opened_for == ["first"]
        await asyncio.sleep(5)

    run(lambda: phone.talk(scene))
    assert (phone.ended, phone.watch.opened_for) == (None, ["first", "reconnect"])
    assert phone.words("user") == ["Question 0"]  # said again to who hears


def test_a_session_that_does_not_notice_the_caller_is_followed_by_one_that_hears_it_all() -> None:
    phone = Phone(FakeBackend(script_of(1)))
    phone.backend.faults = {0: ("stall=3.0s",)}

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(5)
        for _ in range(3):
            await phone.speak(pause_s=0.1)
        await phone.speak()
        await asyncio.sleep(5)

    run(lambda: phone.talk(scene))
    assert (phone.ended, phone.watch.opened_for) == (None, ["first", "reconnect"])
    assert [error.reason for error in phone.watch.faults] == ["realtime_deaf"]
    assert phone.words("user") == ["Question 0"]
    assert 4 * len(SAMPLES) < len(phone.session.heard()), "from its beginning"


def test_a_turn_that_a_session_does_not_answer_is_answered_by_the_next() -> None:
    script = parse_script('[[turn]]\nuser = "A taxi"\nsay = "It is on its way"', "silent.toml")
    phone = Phone(FakeBackend(script), greeting="")
    phone.backend.faults = {0: ("no_response",)}

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(4)
        await phone.speak()
        await asyncio.sleep(20)

    run(lambda: phone.talk(scene))
    assert phone.watch.opened_for == ["first", "reconnect"]
    assert phone.words("assistant") == ["It is on its way"]


def test_audio_that_waited_behind_an_interruption_is_late() -> None:
    """One burst, as after a stall of the network: the caller's voice, then the next item of what it cut off."""
    phone = Phone(FakeBackend(script_of(1)), greeting="")

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(1)
        sound = base64.b64encode(SILENCE * 800).decode()
        first, second = ({"response_id": "r", "item_id": item, "content_index": 0} for item in ("a1", "a2"))
        added = {"type": "conversation.item.added", "previous_item_id": None}
        for event in (
            {"type": "response.created", "response": {"id": "r", "status": "in_progress"}},
            added | {"item": {"id": "a1", "type": "message", "role": "assistant"}},
            {"type": "response.output_audio.delta", "event_id": "e1", "delta": sound, **first},
            {"type": "input_audio_buffer.speech_started", "item_id": "u", "audio_start_ms": 0},
            added | {"item": {"id": "a2", "type": "message", "role": "assistant"}},
            {"type": "response.output_audio.delta", "event_id": "e2", "delta": sound, **second},
        ):
            phone.session._deliver(orjson.dumps(event))
        await asyncio.sleep(1)

    run(lambda: phone.talk(scene))
    assert [item for item, _ in phone.received] == ["a1"]
    cuts = [each for each in phone.session.sent if each["type"] == "conversation.item.truncate"]
    assert [(each["item_id"], each["audio_end_ms"]) for each in cuts] == [("a1", 0), ("a2", 0)]


def test_a_session_that_is_only_to_listen_is_not_mute() -> None:
    phone = Phone(FakeBackend(script_of(1)), greeting="")

    async def scene(phone: Phone) -> None:
        listens = {"type": "server_vad", "create_response": False, "interrupt_response": False}
        phone.link.session_update({"audio": {"input": {"turn_detection": listens}}})
        await asyncio.sleep(2)
        await phone.speak()
        await asyncio.sleep(60)

    run(lambda: phone.talk(scene))
    assert (phone.ended, phone.watch.opened_for) == (None, ["first"])
    assert phone.words("user") == ["Question 0"]


def test_a_service_that_says_nothing_at_all_is_given_up() -> None:
    phone = Phone(FakeBackend(script_of(1)))
    phone.backend.faults = {0: ("no_response",), 1: ("no_response",)}

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(19.9)
        assert phone.ended is None
        await asyncio.sleep(0.5)

    run(lambda: phone.talk(scene))
    assert "says nothing" in str(phone.ended)
    assert (phone.watch.opened_for, phone.watch.comforts) == (["first", "reconnect"], 1)


def test_a_caller_who_says_nothing_is_no_mute_service() -> None:
    phone = Phone(FakeBackend(script_of(1)))

    async def scene(phone: Phone) -> None:
        await asyncio.sleep(600)

    run(lambda: phone.talk(scene))
    assert (phone.ended, phone.watch.opened_for) == (None, ["first"])


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["break", "refuse", "speak"]), st.floats(0, 12)), max_size=8))
def test_whatever_the_network_does_time_goes_on_and_tries_are_few(steps: list[tuple[str, float]]) -> None:
    """No loop without a pause (virtual time would stand still), and no session that nobody closes."""
    phone = Phone(FakeBackend(script_of(10)), budget_s=5.0)

    async def scene(phone: Phone) -> None:
        for what, wait_s in steps:
            await asyncio.sleep(wait_s)
            if what == "break" and phone.session.is_open:
                phone.session.break_off()
            elif what == "refuse":
                phone.backend.refusals |= {phone.backend.tries + n: BUSY for n in range(1, 5)}
            elif what == "speak":
                await phone.speak()
        await asyncio.sleep(30)

    run(lambda: phone.talk(scene))
    losses = sum(what == "break" for what, _ in steps)
    assert phone.backend.tries <= 1 + 9 * losses  # by the back-off within 5 s
    assert losses or phone.ended is None
    assert not phone.watch.open_ids


def test_a_consumer_who_hangs_hears_of_the_end_all_the_same() -> None:
    backend = FakeBackend(script_of(1))

    async def main() -> BaseException | None:
        link = VoiceLink(
            backend,
            Plan(lambda: SessionConfig("gpt-realtime-2.1", ""), 4.0, Rules(), lambda: 0.5),
            Watch(),
            VirtualClock(),
            lambda _: None,
        )
        await link.open()
        for number in range(EVENTS_MAX):
            backend.sessions[0].tell(ev.UserTranscriptDelta(f"u{number}", "word"))
        backend.sessions[0].break_off()
        await asyncio.sleep(60)
        try:
            async for _ in link.events():
                pass
        except SipuaError as error:
            return error
        finally:
            await link.close()
        return None

    assert isinstance(run(main), SipuaError)
