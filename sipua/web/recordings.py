"""``/recordings/{id}``: a recording by a link that is signed for a few minutes, from disk or from the bucket.

Whoever may read a call finds the links in it. What a row says of where the file is is not believed but for its date
and name, which have one form: no path leads anywhere else.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse, RedirectResponse

from sipua.ports import Clock
from sipua.recording_store import LocalCopy, Shelf, StoreRefused, name_in
from sipua.web.guard import Guard
from sipua.web.links import BadLink, ExpiredLink, Links
from sipua.web.problem import Problem, problems
from storage.reading import ReadPool
from storage.recording_reads import recording_of

PATH = "/recordings/{}"
MEDIA_TYPES = {"wav": "audio/wav", "flac": "audio/flac"}
GONE = "the recording was deleted: its days are over, or the caller took the consent back"

_SOUND = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES.values()}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "WAV or FLAC: the caller left, the agent right", "content": _SOUND},
    206: {"description": "the part that Range asks for", "content": _SOUND},
    307: {"description": "where the bucket has it, signed too"},
    400: {
        "description": "a Range that cannot be read",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    },
    416: {"description": "a Range that the recording does not have", "content": {"text/plain": {}}},
}
_PARAMETERS: dict[str, Any] = {
    "parameters": [
        {"name": name, "in": "query", "required": True, "schema": {"type": "string"}}
        for name in ("expires", "signature")
    ]
}


class RecordingLinks:
    """Puts links in the place of addresses."""

    def __init__(self, links: Links, clock: Clock) -> None:
        self._links = links
        self._clock = clock

    def put_into(self, story: dict[str, Any]) -> None:
        """Of ``storage.call_story``: its recordings, and wherever else their addresses stand."""
        links: dict[str, str] = {}
        for each in story["recordings"]:
            links[each["url"]], expires = self._to(each["consent_id"])
            each["url"] = links[each["url"]]
            each["expires_at"] = datetime.fromtimestamp(expires, UTC).isoformat().replace("+00:00", "Z")
        for name, rows in (
            ("consent_media_url", [story["call"]]),
            ("audio_url", [*story["consents"], *story["timeline"]]),
        ):
            for row in rows:
                if row.get(name):
                    row[name] = links.get(row[name])

    def check(self, consent_id: UUID, request: Request) -> None:
        """Problem 403."""
        query = request.query_params
        try:
            self._links.check(
                PATH.format(consent_id), query.get("expires", ""), query.get("signature", ""), self._now()
            )
        except ExpiredLink:
            raise Problem(
                403, "the link has expired: ask for the call again", reason="expired_link"
            ) from None
        except BadLink:
            raise Problem(
                403, "the link is not one of ours: GET /calls/{id} gives one", reason="bad_link"
            ) from None

    def _to(self, consent_id: str) -> tuple[str, int]:
        return self._links.to(PATH.format(consent_id), self._now())

    def _now(self) -> float:
        return self._clock.now().wall.timestamp()


def recordings_router(guard: Guard, pool: ReadPool, links: RecordingLinks, shelf: Shelf) -> APIRouter:
    router = APIRouter(tags=["calls"], dependencies=[Depends(guard.must_be_on)])

    @router.head("/recordings/{consent_id}", include_in_schema=False)
    @router.get(
        "/recordings/{consent_id}",
        summary="A recording, by a signed link",
        description="The link comes with GET /calls/{id}; it needs no token.",
        openapi_extra=_PARAMETERS,
        responses=_RESPONSES
        | problems(
            _403="not one of our links, or expired",
            _404="there is none such",
            _410="it was deleted",
            _503="not now",
        ),
    )
    async def fetched(consent_id: UUID, request: Request) -> Response:
        links.check(consent_id, request)
        row = await recording_of(pool, consent_id)
        if row is None:
            raise Problem(404, "there is no such recording")
        name = name_in(row["audio_url"] or "", consent_id)
        if name is None:
            raise Problem(410, GONE)
        try:
            place = await shelf.find(name)
        except StoreRefused:
            raise Problem(
                503, "the store of recordings does not answer", headers={"Retry-After": "10"}
            ) from None
        match place:
            case None:
                raise Problem(410, GONE)
            case LocalCopy(file, status):
                kind = MEDIA_TYPES[file.suffix[1:]]
                return FileResponse(
                    file, media_type=kind, stat_result=status, filename=file.name, content_disposition_type="inline"
                )  # fmt: skip
            case str():
                return RedirectResponse(place)

    return router
