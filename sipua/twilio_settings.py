"""The keys of ``[twilio]``: webhooks of Twilio's voice numbers (docs/ingest.md)."""

from __future__ import annotations

from pydantic import Field, model_validator

from sipua.section import Section

SIP_URI = r"^(sips?:[A-Za-z0-9._~+%-]{1,64}@[A-Za-z0-9.:\[\]-]{1,255}(;[A-Za-z0-9=._-]{1,64}){0,4})?$"


class TwilioSettings(Section):
    """Twilio's webhooks: a call to a number of ours is sent on to us by SIP."""

    auth_token_file: str = ""
    """A file with the account's auth token (or shared key), by which they are signed; empty = no webhooks."""
    sip_uri: str = Field(default="", pattern=SIP_URI)
    """Where calls go: our user at a SIP domain of Twilio's, or our address: sip:agent@192.0.2.1;transport=tls."""
    timeout_s: int = Field(default=20, ge=5, le=120)
    """So long it rings here before the caller hears the apology."""
    apology: str = Field(
        default="We are sorry, we cannot take your call at the moment. Please call again later.",
        max_length=1000,
    )
    """What the caller hears then; empty = the call just ends."""
    apology_language: str = Field(default="en-US", pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$")
    """In which language Twilio reads it out."""

    @model_validator(mode="after")
    def _whole(self) -> TwilioSettings:
        if bool(self.auth_token_file) != bool(self.sip_uri):
            raise ValueError("auth_token_file and sip_uri: both or neither")
        return self
