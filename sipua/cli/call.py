"""``sipua call``: a softphone test call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import typer

from rtp.codec import codec_by_name
from rtp.dtmf import DIGITS
from sipua.cli.command import FAILURE_EXIT, Conf, Json, conf_dir, print_json, run, settings_of
from sipua.cli.numbers import NUMBER
from sipua.errors import ConfigError
from sipua.phone_keys import WAIT, Way
from sipua.phone_script import CallOptions, CallResult
from sipua.sip_message import parse_uri
from sipua.softphone import place_call
from sipua.sound.portaudio import PortAudio, list_devices
from sipua.trunk import Trunk
from sipua.trunk_files import load_trunks

WavFile = Path | None
HEADPHONES = "use headphones, or the far end hears itself through your microphone"


def _list_devices(wanted: bool) -> None:
    if wanted:
        typer.echo(list_devices())
        raise typer.Exit


def call(
    target: Annotated[
        str,
        typer.Argument(
            help="sip:user@host[:port]; a number, carried by the trunks with fail-over; or a name at --trunk's domain."
        ),
    ],
    trunk: Annotated[
        str | None,
        typer.Option(help="The one trunk that carries it; its codecs and domain for a URI or name."),
    ] = None,
    caller: Annotated[
        str, typer.Option("--from", help="Number to present (else the trunk's caller_id).")
    ] = "",
    play: Annotated[WavFile, typer.Option(help="WAV to speak once the call is up.")] = None,
    record: Annotated[WavFile, typer.Option(help="Where to write what is heard (8 kHz WAV).")] = None,
    dtmf: Annotated[str, typer.Option(help="Keys to press before --play; w waits 0.5 s: wwww12#.")] = "",
    dtmf_by: Annotated[
        str, typer.Option(help="How: rfc4733, info or inband (else the trunk's way, or rfc4733).")
    ] = "",
    duration: Annotated[float | None, typer.Option(help="Hang up after so many seconds.")] = None,
    after_greeting: Annotated[
        bool, typer.Option(help="Speak when the far end has finished its first words.")
    ] = False,
    until_quiet: Annotated[
        float | None, typer.Option(help="Hang up so many seconds after the far end's reply has ended.")
    ] = None,
    ring_timeout: Annotated[
        float | None,
        typer.Option(help="Give up an unanswered call after so many seconds (else the trunk's time, or 60)."),
    ] = None,
    mic: Annotated[
        bool,
        typer.Option(
            "--mic", help=f"Talk yourself, by microphone and speaker; Ctrl-C hangs up; {HEADPHONES}."
        ),
    ] = False,
    device: Annotated[
        str,
        typer.Option(help="With --mic: number, two numbers (microphone,speaker) or part of a name."),
    ] = "",
    devices: Annotated[
        bool,
        typer.Option(
            "--list-devices", callback=_list_devices, is_eager=True, help="Name the sound devices, and end."
        ),
    ] = False,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Place a call from this machine, by an endpoint of its own. Exit 0 if it was answered."""
    sip = settings_of(conf).sip
    for name, seconds in (
        ("duration", duration),
        ("until-quiet", until_quiet),
        ("ring-timeout", ring_timeout),
    ):
        if seconds is not None and seconds <= 0:
            raise ConfigError(f"--{name} {seconds:g}: expected more than 0 seconds")
    if device and not mic:
        raise ConfigError("--device: belongs to --mic")
    if mic and play is not None:
        raise ConfigError("--mic and --play: only one of them can speak")
    chosen = _trunk(conf, trunk)
    is_number = NUMBER.fullmatch(target) is not None
    options = CallOptions(
        uri=target if is_number else _uri(target, chosen),
        trunks=load_trunks(conf_dir(conf)) if is_number else (),
        only=trunk or "",
        caller=caller,
        codecs=chosen.codecs if chosen is not None else ("PCMU", "PCMA"),
        play=play,
        record=record,
        dtmf=_digits(dtmf),
        dtmf_by=_way(dtmf_by) or (chosen.dtmf if chosen is not None and not is_number else ""),
        duration_s=duration,
        after_greeting=after_greeting,
        until_quiet_s=until_quiet,
        ring_timeout_s=ring_timeout,
        certificate=sip.tls_certificate,
        key=sip.tls_key,
    )
    sound = _sound_device(options, device) if mic else None
    result = run(lambda stop: place_call(options, stop, _show, sound))
    if json:
        print_json(result.as_dict())
    else:
        _print(result)
    if result.status != "completed":
        raise typer.Exit(FAILURE_EXIT)


def _sound_device(options: CallOptions, name: str) -> PortAudio:
    """At the best rate that the call may come to have."""
    codecs = {*options.codecs, *(codec for trunk in options.trunks for codec in trunk.codecs)}
    device = PortAudio(name, max(codec_by_name(each).app_codec.sample_rate for each in codecs))
    typer.echo(f"talk when the call is answered; Ctrl-C hangs up; {HEADPHONES}", err=True)
    return device


def _trunk(conf: Path | None, name: str | None) -> Trunk | None:
    if name is None:
        return None
    trunks = load_trunks(conf_dir(conf))
    found = next((each for each in trunks if each.name == name), None)
    if found is None:
        raise ConfigError(
            f"--trunk {name}: no such trunk in {conf_dir(conf)}/trunks; there are: "
            + (", ".join(each.name for each in trunks) or "none")
        )
    return found


def _uri(target: str, trunk: Trunk | None) -> str:
    if target.startswith("sips:"):
        raise ConfigError(f"{target!r}: TLS is not in this version; allowed is sip:user@host[:port]")
    if target.startswith("sip:"):
        uri = parse_uri(target)
        if uri is None or not uri.host or uri.port > 65535:
            raise ConfigError(f"{target!r}: expected sip:user@host[:port] with a port of 1..65535")
        return target
    if trunk is None or not trunk.domain:
        raise ConfigError(
            f"{target!r}: expected sip:user@host[:port] or a number; a name needs --trunk with a domain"
        )
    return f"sip:{target}@{trunk.domain}"


def _digits(text: str) -> str:
    bad = sorted(set(text.upper()) - set(DIGITS + WAIT))
    if bad:
        raise ConfigError(
            f"--dtmf {text!r}: {''.join(bad)!r} is no key; allowed: 0-9 * # A-D, and w to wait 0.5 s"
        )
    return text.upper()


def _way(text: str) -> Way | Literal[""]:
    for way in ("", *get_args(Way)):
        if text == way:
            return cast(Way, way)
    raise ConfigError(f"--dtmf-by {text!r}: allowed are {', '.join(get_args(Way))}")


def _show(entry: Mapping[str, Any]) -> None:
    match entry["event"]:
        case "state":
            typer.echo(f"{entry['state']} {entry['code'] or ''}".rstrip(), err=True)
        case "key":
            typer.echo(f"key {entry['key']}", err=True)
        case "attempt":
            typer.echo(f"trying {entry['trunk']} at {entry['target']}", err=True)
        case "attempt_over":
            code = f", SIP {entry['code']}" if entry["code"] else ""
            typer.echo(f"{entry['reason']}{code} after {entry['ms']} ms: {entry['decision']}", err=True)


def quality_lines(rtp: Mapping[str, Any]) -> list[str]:
    """How good the line was, both ways; what was not measured is said to be unknown."""
    heard, far_end = rtp["quality"], rtp["far_end"]
    lines = ["heard: nothing"]
    if heard is not None:
        lines = [
            f"heard: MOS {heard['mos']:.2f} (R {heard['r']:.1f}), loss {heard['loss_percent']:.1f} %, "
            f"bursts × {heard['burst_ratio']:.1f}, delay {heard['delay_ms']:.0f} ms"
        ]
    if far_end is None:
        return [*lines, "far end: no report"]
    return [
        *lines,
        f"far end: loss {far_end['lost_percent']:.1f} %, jitter {far_end['jitter_ms']:.1f} ms, "
        f"round trip {figure(far_end['rtt_ms'], ' ms')}",
    ]


def figure(value: float | None, unit: str) -> str:
    """One digit, or that it is not known."""
    return "unknown" if value is None else f"{value:.1f}{unit}"


def _print(result: CallResult) -> None:
    typer.echo(f"{result.status} ({result.reason}), SIP {result.sip_code}")
    if result.codec is not None:
        rtp = result.rtp
        typer.echo(f"{result.codec}, {result.duration_seconds:.1f} s, set up in {result.setup_ms:.0f} ms")
        typer.echo(
            f"RTP sent {rtp['sent']}, received {rtp['received']}, lost {rtp['lost']}, late {rtp['late']}, "
            f"jitter {figure(rtp['jitter_ms'], ' ms')}"
        )
        for line in quality_lines(rtp):
            typer.echo(line)
    if result.keys_heard:
        typer.echo(f"keys heard: {result.keys_heard}")
    if result.device is not None:
        shown = (
            f"{name} {each['gaps']} gaps, {each['dropped_ms']} ms dropped"
            for name, each in result.device.items()
        )
        typer.echo(f"sound device: {', '.join(shown)}")
    if result.recording is not None:
        typer.echo(f"recording: {result.recording}")
