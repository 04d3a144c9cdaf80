"""A SIP user agent that answers phone calls with a voice model and keeps every call in PostgreSQL."""

__version__ = "0.1.0"
