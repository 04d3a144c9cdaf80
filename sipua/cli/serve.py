"""``sipua serve``: the agent."""

from __future__ import annotations

from sipua import app
from sipua.cli.common import Conf, Json, conf_dir, print_json, run, settings_of
from sipua.trunk import load_trunks


def serve(conf: Conf = None, json: Json = False) -> None:
    """Answer calls until SIGTERM or SIGINT. Prints one JSON line when ready."""
    del json  # the ready line is JSON in any case
    settings = settings_of(conf)
    trunks = load_trunks(conf_dir(conf))
    run(lambda stop: app.serve(settings, trunks, stop=stop, ready=print_json))
