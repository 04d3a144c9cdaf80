"""The parts of the documents that say how we speak and with whom: made from the tables of names, variables and
keys."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel

from sipua.instructions import MAX_CHARS, VARIABLES
from sipua.languages import Language, Phrases
from sipua.realtime.backend import AUTHORISATION, CAPABILITIES
from sipua.realtime.names import FORMER, VOICES, Former, Service
from sipua.realtime.prices import PRICE_KEYS, PRICES, PRICES_OF

_MADE = "Made by `python -m sipua.reference docs`; do not edit.\n"
_LANGUAGES = f"""# Languages and instructions

{_MADE}
## Which language a call has

It begins in the language of the number of ours that was dialled (`dialled` of a language file); else in the one the
caller is remembered for; else in that of the caller's own number (`callers`); else in English. The most precise
pattern wins. It changes when the caller asks for another, or keeps speaking it: one utterance of six words or two
of two words in a row, as the transcription names them; after the caller has asked, only asking changes it. The
call's row has the language in `locale` (`metadata.language`: dialled, memory, caller, asked, heard), each
transcript in `lang`.

With it change the greeting, the instructions, the phrases that we say ourselves and the hint to the transcription
model (`realtime.transcription_language`). A model that refuses the hint (Whisper has no Kinyarwanda) is asked again
without it and detects the language, helped by `transcription_prompt`; `sipua doctor` tries every language.

## Language files

`languages/CODE.toml` (ISO 639-1) in the configuration folder. en, fr, rw and sw are shipped; a file of yours is
laid over the shipped one and needs only what it changes. A language of your own must bring `schema`, `name`,
`english_name` and `instructions`; a phrase that it lacks is English, and told at the start. **All shipped texts are
machine-written: have a native speaker read them and put the name into `reviewed_by`; until then `sipua doctor` says
so.** SIGHUP reads them again, for calls that begin then.

| key | meaning |
|---|---|
"""
_PHRASES = """
`[phrases]`: what we say ourselves, word for word, up to 400 characters:

| key | when |
|---|---|
"""
_RECORDINGS = """
## Recordings

`languages/CODE/PHRASE.wav` in the configuration folder, else the shipped one, else the English one: played where
the voice service cannot speak or must not choose the words. Any WAV up to 30 s (8 kHz is best). The shipped ones
are spoken by espeak-ng; **for Kinyarwanda it has no voice, so the Swahili one reads it** (`rw/spoken.json` says
so). To have changed texts spoken again: `apt-get install espeak-ng`, then `python -m sipua.espeak FOLDER CODE`.
Better: a person with a microphone. A recording that speaks other words than the text is told at the start, as far
as `spoken.json` stands beside it.

## Instructions

`instructions/*.md` in the configuration folder say what the agent is; the most precise file is given, then the
language's rules are added:

1. `+250788123456.rw.md`, `+250788123456.md`: a number of ours, dialled or presented
2. `trunk-mtn.rw.md`, `trunk-mtn.md`
3. `default.rw.md`, `default.md`
4. `realtime.instructions` of `sipua.toml`

A variable is written `{{name}}`; where nothing is known its last column stands there. Values are data: control
characters and line breaks are taken out, each has a greatest length, lines of a list begin with a dash, and nothing
in a value is expanded. An unknown name refuses the start (after SIGHUP: the old texts stay), with file and line.
"""
_VARIABLES = f"""Text, longest values and language together: at most {MAX_CHARS:,} characters.

| variable | meaning | most characters | otherwise |
|---|---|---|---|
"""
_SERVICE = f"""# The voice service

{_MADE}
`OPENAI_BASE_URL` says where it is, `realtime.service` whose names and habits count (`auto`: by the host).

| service | base URL | key in | session ends after |
|---|---|---|---|
"""
_AZURE = """
**Azure**: the GA interface only. `realtime.model` is the name of your deployment, so names of models are not
checked; an empty path becomes `/openai/v1`; URLs of the preview interface (`api-version=…`) are refused. Behind a
host of your own set `realtime.service = "azure"`.

**Compatible servers** take any name of model and voice, and `realtime.temperature`. What they cannot do is said by
`realtime.audio = "pcm24"` (no G.711), `realtime.client_truncates = false` (no `conversation.item.truncate`) and
`realtime.session_cap_s`.

## A session's end

Before a session ends (the earlier of the table's last column, `realtime.session_cap_s` and what the service says in
`expires_at`) another is opened beside it, `realtime.rotate_before_s` ahead. It is told the conversation as text, and
takes over when nobody speaks, at the latest 10 s before the end. A session that is lost is followed by another within
`realtime.reconnect_s`: the caller's voice is kept meanwhile, after 1.2 s the phrase `please_hold` is heard, and an
answer that was cut off is finished. Refusals of key, quota or configuration are never tried again:
`sipua_realtime_alerts_total` counts them, the caller hears `service_error`, and the call ends. With
`transfer.on_refusal` a caller whom the service refuses (key, quota) hears `assistant_away` instead and is
transferred to that department; if that fails, `all_busy` or `closed`. A call that comes in while the service refuses
us is answered for it, as another try would be refused too; what may pass (no connection, HTTP 5xx) is answered by
503, and a carrier may go elsewhere.

## Prices

US dollars a million tokens (`minute`: a minute of audio), as of {prices_of}; others by `spend.prices`. The longest
name that a model's begins with counts.

{prices}

## Names that came and went

State: November 2026. What its service has shut is refused at the start; what will end is told by `serve` and
`sipua doctor`, also after the day, as the service may keep it longer.

Voices: {voices}, or a custom `voice_…` id.

| kind | name | at | state | write instead |
|---|---|---|---|---|
"""
_URLS = {
    Service.OPENAI: "`https://api.openai.com/v1`, `https://REGION.api.openai.com/v1`",
    Service.AZURE: "`https://RESOURCE.openai.azure.com/openai/v1`",
    Service.COMPATIBLE: "any other, `http(s)://` or `ws(s)://`",
}


def languages_text() -> str:
    """docs/languages.md."""
    variables = (
        f"| `{{{{{name}}}}}` | {each.meaning} | {each.max_chars} | {each.otherwise} |\n"
        for name, each in VARIABLES.items()
    )
    return "".join(
        [_LANGUAGES, *_keys(Language), _PHRASES, *_keys(Phrases), _RECORDINGS, _VARIABLES, *variables]
    )


def service_text() -> str:
    """docs/voice-service.md."""
    services = (f"| {each} | {_URLS[each]} | {_key_of(each)} | {_cap_of(each)} |\n" for each in Service)
    return "".join(
        [
            _SERVICE,
            *services,
            _AZURE.format(voices=", ".join(VOICES), prices_of=PRICES_OF, prices=_prices()),
            *map(_former, FORMER),
        ]
    )


def _prices() -> str:
    head = f"| model | {' | '.join(PRICE_KEYS)} |\n|---|{'---|' * len(PRICE_KEYS)}\n"
    rows = (
        f"| `{model}` | {' | '.join(f'{getattr(price, key):g}' for key in PRICE_KEYS)} |\n"
        for model, price in PRICES.items()
    )
    return (head + "".join(rows)).strip()


def _keys(model: type[BaseModel]) -> Iterable[str]:
    for key, field in model.model_fields.items():
        yield f"| `{field.alias or key}` | {field.description} |\n"


def _key_of(service: Service) -> str:
    header, scheme = AUTHORISATION[service]
    return f"`{header}: {scheme} …`".replace(":  ", ": ")


def _cap_of(service: Service) -> str:
    cap = CAPABILITIES[service].session_cap_s
    return f"{cap:.0f} s" if cap else "nothing known"


def _former(row: Former) -> str:
    state = f"ends on {row.ends.isoformat()}" if row.ends else row.why
    instead = f"`{row.instead}`" if row.instead else "leave it out"
    return f"| {row.kind.replace('_', ' ')} | `{row.pattern}` | {', '.join(row.services)} | {state} | {instead} |\n"
