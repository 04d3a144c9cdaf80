"""The table [dashboard] of the settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sipua.section import Section

Seconds = Annotated[int, Field(ge=1, le=30 * 86_400)]


class DashboardSettings(Section):
    """The web page of operators (docs/dashboard.md); http.tokens_file says who may log in."""

    enabled: bool = True
    """false = there is no page and no login; the routes for programs stay."""
    idle_s: Seconds = 3600
    """A login that asked for nothing for so long has ended; a page that only looks on asks for nothing."""
    longest_s: Seconds = 43_200
    """No login lasts longer, whatever it asked for."""
    streams_max: int = Field(default=32, ge=1, le=200)
    """Pages that may look on at once; 8 of one login."""
    secure_cookie: bool = False
    """true = the cookie goes over https only, also where no trusted proxy says that it was https."""
