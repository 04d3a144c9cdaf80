"""Twilio's voice webhooks as values: signatures, TwiML, statuses. No I/O, no clock."""
