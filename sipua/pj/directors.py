"""The pjsua2 director classes: what the C++ library calls. All of it runs on the one thread that owns pjsua2.

Rules, each learnt from an abort (see docs/decisions.md): a director holds no reference back to its owner but a
callable; every method is guarded, since an exception that leaves a callback is lost or aborts the process; the
object is kept by a registry before anything else happens; nothing here blocks.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, Protocol
from uuid import UUID

import pjsua2 as pj

from sipua.pj.info import InfoRequests
from sipua.pj.parameters import operation
from sipua.pj.srtp_keys import remote_key
from sipua.sdes import Sdes, choose, pick
from sipua.sdp import SdpError, accept, packet_ms, parse_audio, parse_audio_at, parse_audios, shape_local
from sipua.sip_events import (
    LegChanged,
    LegProgress,
    LegState,
    MediaChanged,
    MediaDescription,
    SdpPlan,
    SipEvent,
    TransferProgress,
)
from sipua.sip_message import parse_message

log = logging.getLogger(__name__)

_STATES = {
    pj.PJSIP_INV_STATE_CALLING: LegState.CALLING,
    pj.PJSIP_INV_STATE_EARLY: LegState.EARLY,
    pj.PJSIP_INV_STATE_CONNECTING: LegState.CONNECTING,
    pj.PJSIP_INV_STATE_CONFIRMED: LegState.CONFIRMED,
    pj.PJSIP_INV_STATE_DISCONNECTED: LegState.DISCONNECTED,
}
_DIRECTIONS = {
    0: "inactive",
    1: "sendonly",
    2: "recvonly",
    3: "sendrecv",
}  # pjmedia_dir: bit 0 encode, bit 1 decode

_UNHEARD = 408  # of pjsip itself, too

Params = ParamSpec("Params")


def guarded(method: Callable[Params, None]) -> Callable[Params, None]:
    """Nothing leaves a director method: it is logged, and the director's ``broken`` callback ends that call."""

    @functools.wraps(method)
    def wrapper(*args: Params.args, **kwargs: Params.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
            log.error("pjsua2 callback %s failed: %s", method.__name__, text, exc_info=True)
            broken = getattr(args[0], "broken", None)
            if broken is not None:
                broken(488 if isinstance(error, SdpError) else 500)

    return wrapper


def split_address(text: str) -> tuple[str, int]:
    """``"127.0.0.1:5060"`` or ``"[::1]:5060"`` as (address, port)."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port) if port.isdigit() else 0


def wire_text(text: str) -> str:
    """A message as text that can be stored: SWIG keeps bytes that are not UTF-8 as lone surrogates."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "\ufffd")


def _response_to_invite(event: Any) -> tuple[int, Mapping[str, tuple[str, ...]]] | None:
    """Code and headers of the response to an INVITE of ours that a SipEvent is about; None if it is about another."""
    state = event.body.tsxState
    if event.type != pj.PJSIP_EVENT_TSX_STATE or state.type != pj.PJSIP_EVENT_RX_MSG:
        return None
    if state.tsx.role != pj.PJSIP_ROLE_UAC or state.tsx.method != "INVITE":
        return None
    return state.tsx.statusCode, parse_message(wire_text(state.src.rdata.wholeMsg)).headers


def _audio_of(info: Any) -> Any:
    """The audio stream of a CallInfo that is in use, else the first; None if there is none."""
    streams = [each for each in info.media if each.type == pj.PJMEDIA_TYPE_AUDIO]
    in_use = [each for each in streams if each.status != pj.PJSUA_CALL_MEDIA_NONE]
    return next(iter(in_use or streams), None)


def _answer_body(event: Any) -> str:
    """The SDP of a message that may answer an offer of ours: a response to a request of ours, or an ACK or PRACK."""
    if event.type == pj.PJSIP_EVENT_RX_MSG:
        message = parse_message(wire_text(event.body.rxMsg.rdata.wholeMsg))
        is_answer = message.start_line.startswith("ACK ")
    elif event.type == pj.PJSIP_EVENT_TSX_STATE and event.body.tsxState.type == pj.PJSIP_EVENT_RX_MSG:
        tsx = event.body.tsxState.tsx
        message = parse_message(wire_text(event.body.tsxState.src.rdata.wholeMsg))
        is_answer = tsx.role == pj.PJSIP_ROLE_UAC and tsx.statusCode < 300
        is_answer = is_answer or (tsx.role == pj.PJSIP_ROLE_UAS and tsx.method == "PRACK")
    else:
        return ""
    kind = message.header("content-type") or ""
    return message.body if is_answer and kind.partition(";")[0].strip().lower() == "application/sdp" else ""


class CallOwner(Protocol):
    """What a Call director may do to its registry (the thread's own object, never the Call)."""

    def post(self, event: SipEvent) -> None: ...
    def gone(self, key: UUID) -> None: ...
    def broken(self, key: UUID, code: int) -> None: ...


class CallDirector(pj.Call):  # type: ignore[misc]  # pjsua2 is untyped
    """One INVITE session. ``plan`` must be set before the first answer or makeCall creates the local SDP.

    pjsua2 shows the SDP of an answer to our offer as part of its message only: of a response to INVITE or an ACK with
    the state that it brings (for the ACK after onCallMediaState, whose news then waits), of others with the
    transaction, which is later; of the ACK to a re-INVITE not at all. The keys of the last two are read out of pjsua.
    """

    def __init__(self, account: pj.Account, call_id: int, key: UUID, owner: CallOwner) -> None:
        super().__init__(account, call_id)
        self.key = key
        self.account = account  # it must not be freed before the call
        self.plan: SdpPlan | None = None
        self.codec_in_use: str | None = None
        self.hung_up = False
        self.owes_final = False  # inbound, and no final response has been given
        self._refer_answered = False
        self._was_confirmed = False
        self._was_unheard = False  # a request of ours within the dialog got no answer
        self.muted = False  # refused before anybody heard of it: no events
        self._sdes: Sdes | None = None  # from the first SDP of ours on
        self._media_due = False  # the first MediaChanged, once the answer to our offer has been seen
        self._told: MediaDescription | None = None
        self._formats: tuple[tuple[int, str], ...] = ()  # of our last SDP
        self._ptime_ms: int | None = None  # of the packets to the peer, as its last SDP wants it
        self.info = InfoRequests(key, owner.post)
        self._post = owner.post
        self._gone = owner.gone
        self._broken = owner.broken

    def broken(self, code: int) -> None:
        self._broken(self.key, code)

    @guarded
    def onCallState(self, prm: Any) -> None:  # noqa: N802 - pjsua2's name
        info = self.getInfo()
        state = _STATES.get(info.state)
        if state is None:
            return
        self._see_answer(prm.e)
        self._see_silence(prm.e)
        if not self.muted:
            code, headers = info.lastStatusCode, None
            response = _response_to_invite(prm.e)
            if response is not None:
                received, headers = response
                code = received if 300 <= received < 400 else code  # pjsip ends a redirected INVITE with 487
            is_expired = self._is_expired(state, code)
            now = time.monotonic()
            self._post(LegChanged(self.key, state, code, info.lastReason, now, headers, is_expired))
        if state is LegState.DISCONNECTED:
            self._gone(self.key)

    def _see_silence(self, event: Any) -> None:
        if event.type == pj.PJSIP_EVENT_TSX_STATE:
            tsx = event.body.tsxState.tsx
            if tsx.role == pj.PJSIP_ROLE_UAC and tsx.method != "BYE" and tsx.statusCode == _UNHEARD:
                self._was_unheard = True

    def _is_expired(self, state: LegState, code: int) -> bool:
        """pjsip ends a session that nobody refreshed with 408, and one in which our request got no answer as well."""
        self._was_confirmed = self._was_confirmed or state is LegState.CONFIRMED
        is_over = state is LegState.DISCONNECTED and self._was_confirmed and not self.hung_up
        return is_over and code == _UNHEARD and not self._was_unheard

    @guarded
    def onCallTsxState(self, prm: Any) -> None:  # noqa: N802
        """Provisional responses, which onCallState does not tell all of: a 100 changes no state."""
        self._see_answer(prm.e)
        self._see_silence(prm.e)
        event = prm.e.body.tsxState
        self.info.see(event, lambda text: parse_message(wire_text(text)))
        is_ours = event.tsx.role == pj.PJSIP_ROLE_UAC and event.tsx.method == "INVITE"
        if event.tsx.role == pj.PJSIP_ROLE_UAC and event.tsx.method == "REFER":
            self._on_refer_answer(event)
        if is_ours and event.type == pj.PJSIP_EVENT_RX_MSG and 100 <= event.tsx.statusCode < 200:
            body = event.src.rdata.wholeMsg.partition("\r\n\r\n")[2]
            self._post(LegProgress(self.key, event.tsx.statusCode, bool(body.strip())))

    @guarded
    def onCallRxOffer(self, prm: Any) -> None:  # noqa: N802
        """A re-INVITE or UPDATE: what cannot be accepted gets 488 and the call goes on as it was (RFC 3261 14.1)."""
        assert self.plan is not None
        try:
            offer = pick(parse_audios(prm.offer.wholeSdp), self.plan.srtp)
            accept(offer, self.plan.codecs)
            choose(offer, self.plan.srtp)
        except SdpError as error:
            log.warning("call=%s < re-INVITE refused with 488: %s", self.key, error)
            prm.statusCode = 488

    @guarded
    def onCallSdpCreated(self, prm: Any) -> None:  # noqa: N802
        if self.plan is None and (self.hung_up or self.muted):
            return
        if self.plan is None:
            raise SdpError("SDP was created before there was a plan for it")
        codecs: tuple[str, ...] = self.plan.codecs
        in_use = self.codec_in_use or self.plan.chosen
        if self._sdes is None:
            self._sdes = Sdes(self.plan.srtp)
        place: int | None = None
        if prm.remSdp.wholeSdp:
            offer = pick(parse_audios(prm.remSdp.wholeSdp), self.plan.srtp)
            place = offer.place
            self._ptime_ms = packet_ms(offer, self.plan.ptime_ms)
            codecs = (accept(offer, codecs, prefer=in_use).name,)
            cryptos = self._sdes.answer(parse_audio_at(prm.sdp.wholeSdp, place), offer)
        else:
            if in_use is not None:
                codecs = (in_use,)  # a late offer, or our own re-INVITE: one codec
            cryptos = self._sdes.offer(parse_audio(prm.sdp.wholeSdp))
        shaped = shape_local(
            prm.sdp.wholeSdp,
            address=self.plan.address,
            port=self.plan.port,
            codecs=codecs,
            cryptos=cryptos,
            place=place,
            ptime_ms=self.plan.ptime_ms,
            has_telephone_events=self.plan.has_telephone_events,
        )
        self._formats = tuple((f.payload_type, f.name) for f in parse_audio_at(shaped, place).formats)
        prm.sdp.wholeSdp = shaped

    def refer(self, target_uri: str) -> None:
        """One at a time."""
        self._refer_answered = False
        self.xfer(target_uri, operation())

    def _on_refer_answer(self, event: Any) -> None:
        code = event.tsx.statusCode
        is_over = event.tsx.state in (pj.PJSIP_TSX_STATE_COMPLETED, pj.PJSIP_TSX_STATE_TERMINATED)
        if is_over and code not in (401, 407) and not self._refer_answered:
            self._refer_answered = True
            self._post(TransferProgress(self.key, code, event.tsx.statusText, code >= 300))

    @guarded
    def onCallTransferStatus(self, prm: Any) -> None:  # noqa: N802
        """A NOTIFY about a REFER of ours; pjsua tells of the acceptance as well, as a 100 that nobody has sent."""
        is_pjsuas_own = prm.statusCode == 100 and prm.reason == "Accepted"
        if self._refer_answered and not is_pjsuas_own:
            self._post(TransferProgress(self.key, prm.statusCode, prm.reason, prm.finalNotify))

    @guarded
    def onCallTransferRequest(self, prm: Any) -> None:  # noqa: N802
        """REFER: pjsua's default is to accept it and to dial whatever it names."""
        log.warning("call=%s < REFER declined", self.key)
        prm.statusCode = 603

    @guarded
    def onCallReplaceRequest(self, prm: Any) -> None:  # noqa: N802
        """INVITE with Replaces: pjsua's default is to accept it, past the trunk's ACL, and without a Call crashes."""
        log.warning("call=%s < INVITE with Replaces declined", self.key)
        prm.statusCode = 603

    @guarded
    def onCallMediaState(self, prm: Any) -> None:  # noqa: N802
        media = self._describe()
        if media is not None and media.codec:
            self.codec_in_use = media.codec
        sdes = self._sdes
        if sdes is None or not sdes.is_waiting or media is None:
            self._tell(media)
            return
        if not self._reads_keys(sdes) and self._told is None:
            self._media_due = True
        else:
            self._tell(self._describe())

    def _reads_keys(self, sdes: Sdes) -> bool:
        info = self.getInfo()  # by a name: what is read of it goes with it
        audio = _audio_of(info)
        assert audio is not None
        found = remote_key(self.getId(), audio.index, sdes.own)
        if found is not None:
            sdes.accept_key(*found)
        return found is not None

    def _tell(self, media: MediaDescription | None) -> None:
        self._media_due, self._told = False, media
        self._post(MediaChanged(self.key, media))

    def _see_answer(self, event: Any) -> None:
        """An SDP that may be the answer to our offer: ptime and keys, before or after pjsua has told of the media."""
        if self._sdes is None or self.plan is None:
            return
        body = _answer_body(event)
        if not body:
            return
        try:
            answer = parse_audio(body)
            if self._sdes.may_be_answered:
                self._sdes.accept(answer)
        except SdpError as error:
            if self._sdes.may_be_answered:
                log.warning("call=%s < the answer cannot be taken, the call ends: %s", self.key, error)
                self.broken(488)
            return
        self._ptime_ms = packet_ms(answer, self.plan.ptime_ms)
        told = self._told
        if self._media_due or (
            told is not None
            and told.codec != ""
            and (told.srtp, told.ptime_ms) != (self._sdes.keys, self._ptime_ms)
        ):
            self._tell(self._describe())

    def _describe(self) -> MediaDescription | None:
        info = self.getInfo()
        audio = _audio_of(info)
        if audio is None or audio.status == pj.PJSUA_CALL_MEDIA_ERROR:
            return None
        if audio.status == pj.PJSUA_CALL_MEDIA_NONE or audio.dir == 0:
            # inactive: pjsua has no stream to describe; codec and addresses stay as they were
            return MediaDescription("", 0, 0, -1, -1, ("", 0), ("", 0), "inactive")
        stream = self.getStreamInfo(audio.index)
        # pjsua names its own number for events even where our SDP has none
        has_events = self.plan is not None and self.plan.has_telephone_events
        return MediaDescription(
            codec=stream.codecName.upper(),
            tx_payload_type=stream.txPt,
            rx_payload_type=stream.rxPt,
            telephone_event_tx=stream.audTxEventPt if has_events else -1,
            telephone_event_rx=stream.audRxEventPt if has_events else -1,
            remote_rtp=split_address(stream.remoteRtpAddress),
            remote_rtcp=split_address(stream.remoteRtcpAddress),
            direction=_DIRECTIONS.get(stream.dir, "sendrecv"),
            srtp=None if self._sdes is None else self._sdes.keys,
            formats=self._formats,
            ptime_ms=self._ptime_ms or (20 if self.plan is None else self.plan.ptime_ms),
        )
