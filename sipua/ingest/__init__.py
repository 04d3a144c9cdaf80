"""Calls that others hold and tell us of over HTTP: their rows, their Realtime keys, their end."""
