"""Webhooks of OpenAI, and calls that its own SIP terminates."""
