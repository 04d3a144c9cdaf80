"""Tests of the Realtime client side: core, adapter, recordings."""
