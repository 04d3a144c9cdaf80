"""A SIP peer that does what its script says: requests in, responses out. No I/O, no clock.

Feed datagrams (or framed messages) to ``receive`` with ``now``, send what it returns, call ``tick`` at ``next_at``. It
is a user agent server and a registrar: retransmits its final responses to INVITE until the ACK (RFC 3261 sections
13.3.1.4 and 17.2.1), answers a repeated request as it answered the first. ``seen`` is what went over the wire, by
which a drill knows what happened at the far end.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import random
import re
from collections.abc import Hashable
from dataclasses import dataclass, field

from sipua.drills.script import OK, SILENCE, Challenge, Script, Step
from sipua.sip_message import SipMessage, parse_message

T1_S = 0.5  # RFC 3261 section 17.1.1.1
T2_S = 4.0
TIMER_H_S = 32.0  # 64 T1: an ACK that has not come by then will not
PHRASES = {
    100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 302: "Moved Temporarily", 401: "Unauthorized",
    403: "Forbidden", 407: "Proxy Authentication Required", 423: "Interval Too Brief", 481: "No Such Transaction",
    486: "Busy Here", 487: "Request Terminated", 503: "Service Unavailable", 603: "Decline",
}  # fmt: skip
_FIELD = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')
_EXPIRES = re.compile(r";\s*expires\s*=\s*(\d+)", re.I)


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes for a peer."""

    to: Hashable
    data: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """One message: ``method`` of the request that it is or answers, ``code`` 0 for a request. No repetitions."""

    at: float
    method: str
    code: int
    call_id: str
    message: SipMessage | None = None  # of requests


@dataclass(slots=True)
class _Transaction:
    """A request and what was answered."""

    method: str
    request: SipMessage
    peer: Hashable
    tag: str
    answers: list[bytes] = field(default_factory=list)
    is_final: bool = False
    is_acknowledged: bool = False
    plan: int = 0  # counts the plans: a step of an earlier one is void
    resend_s: float = T1_S
    resend_until: float = 0.0


@dataclass(order=True, slots=True)
class _Due:
    at: float
    order: int
    key: tuple[str, str] = field(compare=False)
    plan: int = field(compare=False)
    step: Step | None = field(compare=False)  # None: repeat the final response
    rest: tuple[Step, ...] = field(compare=False, default=())


class Responder:
    """``contact`` is host:port with parameters; ``media`` where its RTP is."""

    def __init__(self, script: Script, contact: str, media: tuple[str, int], rng: random.Random) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self._contact = contact
        self._media = media
        self._rng = rng
        self._transactions: dict[tuple[str, str], _Transaction] = {}
        self._nonces: set[str] = set()
        self._told_stale: set[str] = set()  # Call-IDs
        self._used = {"OPTIONS": 0, "REGISTER": 0}  # requests, of which answers are taken in turn
        self._due: list[_Due] = []
        self._order = 0
        self._replies: list[Reply] = []

    @property
    def next_at(self) -> float | None:
        """When to call ``tick``."""
        return self._due[0].at if self._due else None

    def count(self, method: str, code: int = 0) -> int:
        """How many requests of this method came, or how many such responses went."""
        return sum(1 for each in self.seen if (each.method, each.code) == (method, code))

    def requests(self, method: str) -> list[SipMessage]:
        """Those of this method, in order."""
        return [each.message for each in self.seen if each.method == method and each.message is not None]

    def receive(self, text: str, peer: Hashable, now: float) -> list[Reply]:
        """One message. What is no request, or comes to a black hole, is only heard."""
        message = parse_message(text)
        method, _, rest = message.start_line.partition(" ")
        if method == "SIP/2.0" or not rest.endswith("SIP/2.0") or not self.script.hears:
            return []
        branch = _parameter(message.header("via") or "", "branch")
        known = self._transactions.get((branch, method))
        if method == "ACK":
            self._on_ack(message, now)
        elif known is not None:
            self._replies += [Reply(peer, data) for data in known.answers[-1:]]
        else:
            self.seen.append(Seen(now, method, 0, message.header("call-id") or "", message))
            tag = f"{self._rng.getrandbits(48):012x}"
            self._transactions[branch, method] = _Transaction(method, message, peer, tag)
            self._plan((branch, method), self._steps(branch, method, message, now), now)
        return self.tick(now)

    def tick(self, now: float) -> list[Reply]:
        """What is due."""
        while self._due and self._due[0].at <= now:
            due = heapq.heappop(self._due)
            found = self._transactions[due.key]
            if not self.script.hears:
                continue
            if due.step is None:
                self._repeat(due.key, found, now)
            elif due.plan == found.plan and not found.is_final:
                self._answer(due.key, found, due.step, now)
                self._plan(due.key, due.rest, due.at)
        replies, self._replies = self._replies, []
        return replies

    # ---- requests ----------------------------------------------------------------------------------------

    def _steps(self, branch: str, method: str, message: SipMessage, now: float) -> tuple[Step, ...]:
        """What is answered to a new request."""
        if method == "INVITE":
            if _parameter(message.header("to") or "", "tag"):  # within a call: as it was
                return (Step(200, has_sdp=True),)
            return self._challenged(self.script.invite_challenge, message) or self.script.invite
        if method == "CANCEL":
            invite = self._transactions.get((branch, "INVITE"))
            if invite is None:
                return (Step(481),)
            if not invite.is_final:
                self._plan((branch, "INVITE"), self.script.on_cancel, now)
            return OK
        if method == "REGISTER":
            return self._registration(message)
        if method == "OPTIONS":
            return self._in_turn("OPTIONS", self.script.options)
        return OK  # BYE, PRACK, UPDATE, INFO …: a decent peer

    def _on_ack(self, message: SipMessage, now: float) -> None:
        call_id, cseq = message.header("call-id"), _cseq(message)
        for each in self._transactions.values():
            waits = each.method == "INVITE" and each.is_final and not each.is_acknowledged
            if waits and each.request.header("call-id") == call_id and _cseq(each.request) == cseq:
                each.is_acknowledged = True
                self.seen.append(Seen(now, "ACK", 0, call_id or "", message))

    def _in_turn(self, method: str, answers: tuple[tuple[Step, ...], ...]) -> tuple[Step, ...]:
        steps = answers[self._used[method] % len(answers)]
        self._used[method] += 1
        return steps

    def _registration(self, message: SipMessage) -> tuple[Step, ...]:
        refused = self._challenged(self.script.register_challenge, message)
        if refused:
            return refused
        contact = message.header("contact") or ""
        asked = _EXPIRES.search(contact)
        expires = int(asked[1] if asked else message.header("expires") or 3600)
        if 0 < expires < self.script.min_expires_s:
            return (Step(423, headers=(("Min-Expires", str(self.script.min_expires_s)),)),)
        granted = self.script.grants_s if self.script.grants_s and expires else expires
        binding = (("Contact", f"{_EXPIRES.sub('', contact)};expires={granted}"),) if granted else ()
        return tuple(
            Step(each.code, each.after_s, each.headers + binding) if 200 <= each.code < 300 else each
            for each in self._in_turn("REGISTER", self.script.register)
        )

    # ---- digest ------------------------------------------------------------------------------------------

    def _challenged(self, challenge: Challenge | None, message: SipMessage) -> tuple[Step, ...]:
        """The refusal of a request whose digest is absent, wrong or made with a stale nonce; else nothing."""
        if challenge is None:
            return SILENCE
        given = message.header("authorization") or message.header("proxy-authorization")
        fields = {name.lower(): quoted or bare for name, quoted, bare in _FIELD.findall(given or "")}
        is_right = bool(given) and digest_is_right(challenge, fields, message.start_line.partition(" ")[0])
        if is_right and fields.get("nonce", "") in self._nonces:
            call_id = message.header("call-id") or ""
            if not challenge.stale_first or call_id in self._told_stale:
                self._told_stale.discard(call_id)
                return SILENCE
            self._told_stale.add(call_id)
        fresh = f"{self._rng.getrandbits(64):016x}"
        self._nonces.add(fresh)
        stale = ", stale=true" if is_right else ""
        name = "WWW-Authenticate" if challenge.code == 401 else "Proxy-Authenticate"
        value = f'Digest realm="{challenge.realm}", nonce="{fresh}", algorithm=MD5, qop="auth"{stale}'
        return (Step(challenge.code, headers=((name, value),)),)

    # ---- responses ---------------------------------------------------------------------------------------

    def _plan(self, key: tuple[str, str], steps: tuple[Step, ...], since: float) -> None:
        """From now on the transaction is answered by these; what was planned before is void."""
        transaction = self._transactions[key]
        transaction.plan += 1
        if steps:
            self._schedule(since + steps[0].after_s, key, steps[0], steps[1:])

    def _schedule(
        self, at: float, key: tuple[str, str], step: Step | None, rest: tuple[Step, ...] = ()
    ) -> None:
        self._order += 1
        heapq.heappush(self._due, _Due(at, self._order, key, self._transactions[key].plan, step, rest))

    def _answer(self, key: tuple[str, str], transaction: _Transaction, step: Step, now: float) -> None:
        transaction.answers.append(self._response(transaction, step))
        call_id = transaction.request.header("call-id") or ""
        self.seen.append(Seen(now, transaction.method, step.code, call_id))
        self._replies.append(Reply(transaction.peer, transaction.answers[-1]))
        transaction.is_final = step.code >= 200
        if transaction.is_final and transaction.method == "INVITE":
            transaction.resend_until = now + TIMER_H_S
            self._schedule(now + T1_S, key, None)

    def _repeat(self, key: tuple[str, str], transaction: _Transaction, now: float) -> None:
        """The final response of an INVITE once more, unless its ACK has come."""
        if transaction.is_acknowledged or now >= transaction.resend_until:
            return
        self._replies.append(Reply(transaction.peer, transaction.answers[-1]))
        transaction.resend_s = min(transaction.resend_s * 2, T2_S)
        self._schedule(now + transaction.resend_s, key, None)

    def _response(self, transaction: _Transaction, step: Step) -> bytes:
        request = transaction.request
        to = request.header("to") or ""
        if step.code > 100 and not _parameter(to, "tag"):
            to += f";tag={transaction.tag}"
        lines = [f"SIP/2.0 {step.code} {PHRASES.get(step.code, 'Drill')}"]
        topmost, *others = request.headers.get("via", ("",))
        seen = f";received={self.script.received}" if self.script.received else ""
        lines += [f"Via: {topmost}{seen}", *(f"Via: {each}" for each in others)]
        lines += [f"From: {request.header('from')}", f"To: {to}", f"Call-ID: {request.header('call-id')}"]
        lines.append(f"CSeq: {request.header('cseq')}")
        names = {name.lower() for name, _ in step.headers}
        if transaction.method == "INVITE" and "contact" not in names and step.code < 300:
            lines.append(f"Contact: <sip:carrier@{self._contact}>")
        lines += [f"{name}: {value}" for name, value in step.headers]
        body = self._answer_sdp(request) if step.has_sdp else ""
        if body:
            lines.append("Content-Type: application/sdp")
        lines.append(f"Content-Length: {len(body.encode())}")
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    def _answer_sdp(self, request: SipMessage) -> str:
        """The offer's first codec, and its telephone-events."""
        host, port = self._media
        offered = re.search(r"^m=audio \d+ (\S+) ([\d ]+)", request.body, re.M)
        payload = (offered[2].split() if offered else ["0"])[0]
        profile = offered[1] if offered else "RTP/AVP"
        events = re.search(r"^a=rtpmap:(\d+) telephone-event/8000", request.body, re.M)
        kinds = f"{payload} {events[1]}" if events else payload
        head = ["v=0", f"o=- 1 1 IN IP4 {host}", "s=drill", f"c=IN IP4 {host}", "t=0 0"]
        lines = [*head, f"m=audio {port} {profile} {kinds}", "a=sendrecv"]
        lines += [f"a=rtpmap:{events[1]} telephone-event/8000"] if events else []
        return "\r\n".join(lines) + "\r\n"


def digest_is_right(challenge: Challenge, fields: dict[str, str], method: str) -> bool:
    """Whether an Authorization was made with the user's password (RFC 7616 section 3.4.1, qop auth or none)."""
    if fields.get("username") != challenge.user or fields.get("realm") != challenge.realm:
        return False
    ha1 = _md5(f"{challenge.user}:{challenge.realm}:{challenge.password}")
    ha2 = _md5(f"{method}:{fields.get('uri', '')}")
    middle = [fields.get("nonce", "")]
    if fields.get("qop"):
        middle += [fields.get("nc", ""), fields.get("cnonce", ""), fields["qop"]]
    return hmac.compare_digest(_md5(":".join([ha1, *middle, ha2])), fields.get("response", ""))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _parameter(value: str, name: str) -> str:
    """A header parameter of the first value, outside the angle brackets."""
    found = re.search(rf";\s*{name}\s*=\s*([^;,\s>]+)", value.rpartition(">")[2])
    return found[1] if found else ""


def _cseq(message: SipMessage) -> str:
    return (message.header("cseq") or "").partition(" ")[0]
