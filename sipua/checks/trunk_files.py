"""What the trunk files say, without asking anybody: do they fit this machine, what do they still lack?"""

from __future__ import annotations

from pathlib import Path

from sipua.checks.report import Check, Status
from sipua.config_file import read_secret
from sipua.errors import ConfigError
from sipua.pj.build import LibraryFacts
from sipua.trunk import Trunk
from sipua.trunk_files import check_fit
from sipua.trunk_rules import not_yet, secret_references

# What carriers take (docs/trunks.md), by provider.
CARRIER_CODECS = {"twilio": ("PCMU", "PCMA"), "mtn": ("PCMU", "PCMA", "G729")}


def fit(trunks: tuple[Trunk, ...], folder: Path, facts: LibraryFacts) -> Check:
    """All files together, as ``serve`` takes them."""
    try:
        check_fit(trunks)
    except ConfigError as error:
        todo = "mend the file, or set enabled = true in one"
        return Check("trunks", "fail", f"{folder}/trunks: {error}", todo, True)
    enabled = [trunk for trunk in trunks if trunk.enabled]
    detail = f"enabled: {', '.join(trunk.name for trunk in enabled)}"
    needed = 1 + sum(1 + len(each.per_number_credentials) + (each.kind == "register") for each in enabled)
    if needed > facts.max_accounts:
        detail += f"; they need {needed} SIP accounts, and this build of pjsua2 has {facts.max_accounts}"
        return Check("trunks", "fail", detail, "disable some, or `make pjsua2`: it has more", True)
    return Check("trunks", "ok", detail)


def one(trunk: Trunk, facts: LibraryFacts) -> Check:
    """What is to be known about one trunk; a disabled one is no fault, whatever it lacks."""
    name = f"trunk {trunk.name}"
    status: Status = "ok"
    texts = [f"{'enabled' if trunk.enabled else 'disabled'}, {trunk.kind}, {trunk.direction}"]
    todos = []
    if trunk.asks:
        by_mark: dict[str, list[str]] = {}
        for key, mark in trunk.asks:
            by_mark.setdefault(mark, []).append(key)
        texts += [f"{mark} for {', '.join(keys)}" for mark, keys in by_mark.items()]
        todos.append(f"`sipua trunk setup {trunk.name}` has the questions")
    elif secrets := _missing_secrets(trunk):
        texts += secrets
        todos.append("set it, or correct the key" if trunk.enabled else "set it before enabled = true")
        status = "fail" if trunk.enabled else "ok"
    if trunk.transport == "tls" and not facts.has_current_tls:
        texts.append(f"transport = tls, and pjsua2 brings {facts.tls}, which is end of life")
        todos.append("`make pjsua2` builds one with a current OpenSSL")
        status = "fail" if status == "fail" else "warn"
        if not trunk.tls_ca and facts.tls.startswith("OpenSSL 1.0."):
            texts.append("tls_ca is not set: with the system's whole bundle this OpenSSL takes no connection")
            todos.append(f"or set tls_ca to a file with the CA certificates of {trunk.provider}")
            if trunk.enabled and trunk.direction != "outbound" and trunk.kind == "static":
                status = "fail"  # no call of theirs arrives
    return Check(name, status, "; ".join([*texts, *not_yet(trunk)]), "; ".join(todos), status == "fail")


def codecs(trunk: Trunk, facts: LibraryFacts) -> Check:
    """What this build can negotiate and the carrier is known to take, in our order."""
    name = f"trunk {trunk.name} codecs"
    built = [each for each in trunk.codecs if each in facts.codecs]
    carrier = CARRIER_CODECS.get(trunk.provider)
    common = [each for each in built if carrier is None or each in carrier]
    if not common:
        detail = (
            f"{', '.join(trunk.codecs)}: nothing in common with {trunk.provider}, which takes {', '.join(carrier)}"
            if carrier and built
            else f"{', '.join(trunk.codecs)}: this pjsua2 has only {', '.join(facts.codecs)}"
        )
        return Check(
            name, "fail", detail, "mend codecs in the trunk file: every call would end with 488", True
        )
    text = f"{', '.join(common)}" + (f", as {trunk.provider} takes them" if carrier else "")
    useless = [each for each in trunk.codecs if each not in common]
    if useless:
        return Check(
            name, "warn", f"{text}; never {', '.join(useless)}", "leave out what cannot be negotiated"
        )
    return Check(name, "ok", text)


def _missing_secrets(trunk: Trunk) -> list[str]:
    found = []
    for where, env, file in secret_references(trunk):
        try:
            read_secret(where, env, file)
        except ConfigError as error:
            found.append(str(error))
    return found
