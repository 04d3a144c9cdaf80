"""The tables ``consent`` and ``recording`` of the settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sipua.section import Section

Format = Literal["wav", "flac"]
Url = Annotated[str, Field(pattern=r"^(https?://\S+[^/\s])?$")]


class ConsentSettings(Section):
    """What the caller is asked before anything is kept of the call's sound."""

    answer_s: float = Field(default=6.0, ge=2.0, le=30.0)
    """So long after the question an answer is waited for; then it is asked once more, then it is no answer."""
    transcripts: Literal["always", "with_consent"] = "always"
    """Whether transcripts are kept of callers who did not say yes. with_consent: asked also without recording."""
    on_withdrawal: Literal["delete", "keep"] = "delete"
    """What becomes of the recording when the caller takes the consent back; it stops in any case."""


class RecordingSettings(Section):
    """Recordings of calls, with the caller's consent: stereo, the caller left and the agent right."""

    enabled: bool = False
    """Whether callers are asked for consent and recorded."""
    format: Format = "wav"
    """wav or flac: about half the size, for 0.6 ms of processor time a second of sound; lossless both."""
    dir: str = ""
    """Where recordings are, or wait for their upload; empty = STATE_DIR/recordings."""
    keep_days: int = Field(default=90, ge=0, le=36500)
    """Older ones are deleted, here and in the bucket; 0 = never."""
    base_url: Url = ""
    """What the addresses in the ledger begin with; empty = file://… or the bucket's own."""
    min_free_mb: int = Field(default=500, ge=0)
    """With less free space on that disk nothing more is recorded: the database may live on it too."""
    spool_mb: int = Field(default=4096, ge=16)
    """With more than this waiting for its upload nothing more is recorded."""
    s3_bucket: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$")
    """Bucket of an S3-compatible store that recordings are moved to after the call; empty = they stay in dir."""
    s3_endpoint: Url = ""
    """Its URL, such as https://minio.example.com; empty = Amazon's for the region."""
    s3_region: str = Field(default="us-east-1", pattern=r"^[a-z0-9-]{1,32}$")
    """Its region."""
    s3_prefix: str = Field(default="", pattern=r"^([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?$")
    """What the names of the objects begin with, without a / at the end."""
    s3_access_key_id: str = ""
    """Empty = the library's own search: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, then the machine's role."""
    s3_secret_key_file: str = ""
    """A file with the secret key to it."""

    @model_validator(mode="after")
    def _whole(self) -> RecordingSettings:
        if bool(self.s3_access_key_id) != bool(self.s3_secret_key_file):
            raise ValueError("s3_access_key_id and s3_secret_key_file: both or neither")
        if not self.s3_bucket and (self.s3_endpoint or self.s3_prefix or self.s3_access_key_id):
            raise ValueError("s3_endpoint, s3_prefix and s3_access_key_id want s3_bucket, which is empty")
        return self
