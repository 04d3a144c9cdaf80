"""Settings: environment before file before default, and every fault named with where it stands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from sipua.config_file import UNPREFIXED
from sipua.errors import ConfigError
from sipua.realtime.backend import Capabilities
from sipua.realtime.config import AudioFormat
from sipua.realtime.names import Service
from sipua.reference import documents
from sipua.resources import shipped_conf
from sipua.settings import PREFIX, Settings
from sipua.settings_file import environment_names, load_settings
from sipua.trunk import Trunk
from sipua.trunk_files import load_trunks
from sipua.voice_settings import backend_of, session_config

ROOT = Path(__file__).resolve().parents[2]
SECRET = "sk-geheim"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(PREFIX) or name in UNPREFIXED:
            monkeypatch.delenv(name)


def at(settings: Settings, dotted: str) -> object:
    value: object = settings
    for part in dotted.split("."):
        value = getattr(value, part)
    return value


def write(conf: Path, text: str) -> Path:
    file = conf / "sipua.toml"
    file.write_text(text)
    return file


def test_environment_wins_over_file_wins_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings(tmp_path).sip.port == 5060
    write(tmp_path, "[sip]\nport = 5070\ncontact_user = 'a'\n[realtime.vad]\nthreshold = 0.25")
    assert load_settings(tmp_path).sip.port == 5070
    monkeypatch.setenv("SIPUA_SIP__PORT", "5080")
    monkeypatch.setenv("SIPUA_REALTIME__VAD__KIND", "semantic_vad")
    settings = load_settings(tmp_path)
    assert (settings.sip.port, settings.sip.contact_user) == (5080, "a")  # the table is merged, not replaced
    assert (settings.realtime.vad.threshold, settings.realtime.vad.kind) == (0.25, "semantic_vad")


SAMPLES = {
    "NODE": "n1",
    "WORKER": "3",
    "TIMEZONE": "Africa/Kigali",
    "STATE_DIR": "/tmp/x",
    "SIP__BIND": "127.0.0.2",
    "SIP__PORT": "0",
    "SIP__TLS_PORT": "5062",
    "SIP__TLS_CERTIFICATE": "/etc/sipua/our.pem",
    "SIP__TLS_KEY": "/etc/sipua/our.key",
    "SIP__STUN_SERVER": "stun.example.org:3478",
    "SIP__CONTACT_USER": "bob",
    "SIP__MAX_CALLS": "100",
    "SIP__LOG_LEVEL": "5",
    "RTP__BIND": "::1",
    "RTP__PORT_MIN": "1000",
    "RTP__PORT_MAX": "17000",
    "RTP__MAX_WAIT_MS": "150",
    "RTP__COMFORT_NOISE": "True",
    "RTP__HEAR_COMFORT_NOISE": "True",
    "RTP__RELATCH_WINDOW_S": "1.5",
    "RTP__PORT_QUIET_S": "4.0",
    "HTTP__BIND": "0.0.0.0",
    "HTTP__PORT": "1",
    "HTTP__TOKENS_FILE": "/etc/sipua/tokens",
    "HTTP__METRICS": "token",
    "HTTP__PUBLIC_URL": "https://voice.example.com/x",
    "HTTP__PATH_PREFIX": "/functions/v1",
    "HTTP__TRUSTED_PROXIES": "['192.0.2.1', '2001:db8::/32']",
    "HTTP__RATE_PER_S": "5.0",
    "DASHBOARD__ENABLED": "False",
    "DASHBOARD__IDLE_S": "60",
    "DASHBOARD__LONGEST_S": "600",
    "DASHBOARD__STREAMS_MAX": "3",
    "DASHBOARD__SECURE_COOKIE": "True",
    "DATABASE__DIR": "/tmp/pg",
    "DATABASE__URL_FILE": "",
    "DATABASE__MIGRATE_URL": "",
    "DATABASE__QUEUE_LIMIT": "100",
    "LEDGER__SPOOL_DIR": "/srv/spool",
    "LEDGER__SPOOL_MAX_MB": "0",
    "LEDGER__PROJECT_ID": "kigali",
    "REALTIME__SERVICE": "compatible",
    "REALTIME__AUTH_HEADER": "X-Key",
    "REALTIME__MODEL": "gpt-realtime",
    "REALTIME__VOICE": "voice_abc",
    "REALTIME__AUDIO": "pcm24",
    "REALTIME__INSTRUCTIONS": "Be kind.",
    "REALTIME__GREETING": "",
    "REALTIME__TRANSCRIPTION_MODEL": "",
    "REALTIME__TRANSCRIPTION_LANGUAGE": "rw",
    "REALTIME__NOISE_REDUCTION": "far_field",
    "REALTIME__REASONING_EFFORT": "low",
    "REALTIME__SPEED": "1.5",
    "REALTIME__MAX_OUTPUT_TOKENS": "4096",
    "REALTIME__TRUNCATION": "disabled",
    "REALTIME__RETENTION_RATIO": "0.8",
    "REALTIME__TEMPERATURE": "0.7",
    "REALTIME__SESSION_CAP_S": "1800",
    "REALTIME__ROTATE_BEFORE_S": "60.0",
    "REALTIME__RECONNECT_S": "0.0",
    "REALTIME__CLIENT_TRUNCATES": "False",
    "REALTIME__CONNECT_TIMEOUT_S": "0.5",
    "REALTIME__API_KEY_FILE": "",
    "REALTIME__VAD__KIND": "semantic_vad",
    "REALTIME__VAD__THRESHOLD": "0.9",
    "REALTIME__VAD__PREFIX_PADDING_MS": "0",
    "REALTIME__VAD__SILENCE_DURATION_MS": "1",
    "REALTIME__VAD__EAGERNESS": "high",
    "TURNS__PROTECT_OPENING": "True",
    "TURNS__PAUSE_MS": "400",
    "TURNS__IDLE_S": "20.0",
    "TURNS__IDLE_PROMPTS": "1",
    "KEYS__TIMEOUT_S": "1.5",
    "KEYS__END": "*",
    "KEYS__MOST": "64",
    "KEYS__INTERRUPT": "True",
    "KEYS__LEDGER": "keys",
    "TOOLS__OFF": "hang_up, wrap_up",
    "TOOLS__CATALOGUE": "platform",
    "TRANSFER__ON_REFUSAL": "support",
    "TRANSFER__RING_S": "20.0",
    "TRANSFER__TRANSCRIBE_BRIDGED": "True",
    "TRANSFER__RECORD_BRIDGED": "True",
    "CALLBACKS__NOTIFY_URL": "",
    "CALLBACKS__NOTIFY_SECRET_FILE": "",
    "CALLBACKS__NOTIFY_COMMAND": "['/usr/local/bin/tell', '-v']",
    "ALERTS__COMMAND": "['/usr/local/bin/tell', '-v']",
    "ALERTS__URL": "",
    "ALERTS__SECRET_FILE": "",
    "ALERTS__MAIL_TO": "[]",
    "ALERTS__MAIL_FROM": "agent@example.org",
    "ALERTS__SMTP_HOST": "mail.example.org",
    "ALERTS__SMTP_PORT": "465",
    "ALERTS__SMTP_TLS": "tls",
    "ALERTS__SMTP_CA": "/etc/sipua/mail-ca.pem",
    "ALERTS__SMTP_USER": "",
    "ALERTS__SMTP_PASSWORD_FILE": "",
    "ALERTS__OFF": "['disk']",
    "ALERTS__AFTER_S": "5.0",
    "ALERTS__CLEAR_S": "5.0",
    "ALERTS__REMIND_H": "24.0",
    "ALERTS__MIN_FREE_MB": "100",
    "ALERTS__CERTIFICATE_DAYS": "30",
    "CONSENT__ANSWER_S": "8.0",
    "CONSENT__TRANSCRIPTS": "with_consent",
    "CONSENT__ON_WITHDRAWAL": "keep",
    "RECORDING__ENABLED": "True",
    "RECORDING__FORMAT": "flac",
    "RECORDING__DIR": "/srv/calls",
    "RECORDING__KEEP_DAYS": "30",
    "RECORDING__BASE_URL": "https://calls.example.org",
    "RECORDING__MIN_FREE_MB": "100",
    "RECORDING__SPOOL_MB": "100",
    "RECORDING__S3_BUCKET": "calls",
    "RECORDING__S3_ENDPOINT": "",
    "RECORDING__S3_REGION": "eu-west-1",
    "RECORDING__S3_PREFIX": "",
    "RECORDING__S3_ACCESS_KEY_ID": "",
    "RECORDING__S3_SECRET_KEY_FILE": "",
    "RETENTION__AT": "23:59",
    "RETENTION__VOICE_CALLS": "30",
    "RETENTION__TRANSCRIPTS": "30",
    "RETENTION__VOICE_EVENTS": "30",
    "RETENTION__OPENAI_SESSIONS": "30",
    "RETENTION__MCP_TOOL_CALLS": "30",
    "RETENTION__CALL_CONSENTS": "30",
    "RETENTION__CALL_ATTEMPTS": "30",
    "RETENTION__VOICE_MEMORIES": "30",
    "RETENTION__WA_THREADS": "30",
    "RETENTION__WA_MESSAGES": "30",
    "RETENTION__SERVICE_REQUESTS": "30",
    "RETENTION__CALLBACK_REQUESTS": "30",
    "RETENTION__TRUNK_CHANGES": "30",
    "RETENTION__DRILL_RUNS": "30",
    "RETENTION__WEBHOOKS": "7",
    "RETENTION__PROCESSES": "30",
    "MEMORY__ENABLED": "False",
    "MEMORY__CALLS": "5",
    "MEMORY__READ_TIMEOUT_S": "1.0",
    "WHATSAPP__PHONE_NUMBER_ID": "",
    "WHATSAPP__TOKEN_FILE": "/etc/sipua/whatsapp",
    "WHATSAPP__BUSINESS_ACCOUNT_ID": "102290129340398",
    "WHATSAPP__TEMPLATE": "after_call",
    "WHATSAPP__TEMPLATE_LANGUAGES": "{'rw': 'rw_RW'}",
    "WHATSAPP__TEMPLATE_HAS_TEXT": "False",
    "WHATSAPP__APP_SECRET_FILE": "",
    "WHATSAPP__VERIFY_TOKEN_FILE": "",
    "WHATSAPP__BASE_URL": "http://127.0.0.1:9000/v23.0",
    "WHATSAPP__TIMEOUT_S": "4.0",
    "OPENAI_WEBHOOK__SECRET_FILE": "/etc/sipua/openai-webhook",
    "OPENAI_WEBHOOK__INCOMING": "ignore",
    "OPENAI_WEBHOOK__REJECT_CODE": "480",
    "OPENAI_WEBHOOK__BUSY_CODE": "503",
    "OPENAI_WEBHOOK__MAX_CALLS": "5",
    "OPENAI_WEBHOOK__MAX_CALL_S": "600",
    "OPENAI_WEBHOOK__REJOIN_S": "5.0",
    "OPENAI_WEBHOOK__DEDUPE_TIMEOUT_S": "0.5",
    "SPEND__CALL_USD": "0.5",
    "SPEND__CALLER_DAY_USD": "2.0",
    "SPEND__DAY_USD": "100.0",
    "SPEND__PRICES": "{'mine': {'audio_in': 32.0}}",
    "CURRENCY__CODE": "",
    "CURRENCY__PER_USD": "0.0",
    "OUTBOUND__GREETING": "Say: {{greeting}}",
    "OUTBOUND__ANSWERING_MACHINE": "leave_message",
    "OUTBOUND__MESSAGE": "Please call us.",
    "OUTBOUND__AMD_INITIAL_SILENCE_MS": "1500",
    "OUTBOUND__AMD_GREETING_MS": "2500",
    "OUTBOUND__AMD_PAUSE_MS": "500",
    "OUTBOUND__AMD_TOTAL_MS": "5000",
    "OUTBOUND__AMD_BEEP_MS": "200",
    "OUTBOUND__AMD_VOICE_DB": "-40.0",
    "OUTBOUND__AMD_MESSAGE_SILENCE_MS": "3000",
    "OUTBOUND__AMD_WAIT_S": "30.0",
    "OUTBOUND__AMD_LATE_S": "0.0",
    "OUTBOUND__CALLING_HOURS": "['Mon-Fri 08:00-20:00']",
    "OUTBOUND__HOLIDAYS": "['RW 2026-07-01']",
    "OUTBOUND__TIMEZONE": "Africa/Kigali",
    "OUTBOUND__DO_NOT_CALL": "/etc/sipua/do-not-call",
    "OUTBOUND__ATTEMPTS_PER_DAY": "3",
    "INGEST__PROVIDER": "mtn",
    "INGEST__AUDIO": "pcmu",
    "INGEST__KEY_S": "300",
    "TWILIO__AUTH_TOKEN_FILE": "",
    "TWILIO__SIP_URI": "",
    "TWILIO__TIMEOUT_S": "30",
    "TWILIO__APOLOGY": "Please call again.",
    "TWILIO__APOLOGY_LANGUAGE": "fr-FR",
    "DRILL__TEST_NUMBER": "+12025550123",
    "LOG__LEVEL": "debug",
    "LOG__FORMAT": "json",
    "TRACING__ENDPOINT": "http://127.0.0.1:4318/v1/traces",
    "TRACING__SAMPLE": "0.25",
    "TRACING__HEADERS_FILE": "/etc/sipua/tracing.headers",
}


def test_every_name_has_a_sample() -> None:
    assert [PREFIX + name for name in SAMPLES] == environment_names()


@pytest.mark.parametrize("name", SAMPLES)
def test_every_name_works(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + name, SAMPLES[name].replace("'", '"'))  # a table is JSON
    if name.endswith("TEMPERATURE"):
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")  # OpenAI's own has none
    value = at(load_settings(tmp_path), name.lower().replace("__", "."))
    assert str(list(value) if isinstance(value, tuple) else value) == SAMPLES[name]


FILE_FAULTS = [
    pytest.param("[sip]\nprot = 1", r"unknown key 'sip\.prot'; allowed: bind, port, tls_port", id="key"),
    pytest.param("[rtpp]\nport_min = 1", r"unknown key 'rtpp'; allowed: node, .*rtp, http", id="table"),
    pytest.param("[realtime.vad]\nkind2 = 1", r"unknown key 'realtime\.vad\.kind2'; allowed: kind, thr", id="deep"),
    pytest.param("sip = 5", r"sip = 5: .*dictionary", id="no table"),
    pytest.param("[sip]\nport = 65536", r"sip\.port = 65536: .*65535", id="port too high"),
    pytest.param("[sip]\nport = 'x'", r"sip\.port = 'x': .*integer", id="port no number"),
    pytest.param("[sip]\nbind = 'here'", r"sip\.bind = 'here': .*IPv4 or IPv6", id="no address"),
    pytest.param("[rtp]\nbind = 'here'", r"rtp\.bind = 'here': .*IPv4 or IPv6", id="no RTP address"),
    pytest.param("[rtp]\nport_min = 20000", r"rtp: port_max 16999 leaves no .* 20000", id="range upside down"),
    pytest.param("[rtp]\nport_min = 0", r"rtp: port_min 0 and port_max 16999: .*both are 0", id="half free"),
    pytest.param("[rtp]\nport_min = 16999", r"rtp: port_max 16999 leaves no RTP/RTCP pair", id="no pair"),
    pytest.param("[realtime]\nvoice = 'nova'", r"realtime\.voice = 'nova': .*marin, cedar or a custom", id="voice"),
    pytest.param("[realtime]\naudio = 'pcm16'", r"realtime\.audio = 'pcm16': .* beta .*use pcm24", id="pcm16"),
    pytest.param("[realtime]\ntemperature = 0.8", r"temperature = 0\.8: is not in the GA .*leave it", id="temp"),
    pytest.param("[realtime]\nturn_detection = {}", r"turn_detection is a table here; use \[realtime\.vad", id="vad"),
    pytest.param("[realtime]\nmodel = 'gpt-4o-realtime-preview'", r"2026-05-12; use gpt-realtime-2\.1$", id="old"),
    pytest.param(
        "[realtime]\nmodel = 'gpt-realtime'\nreasoning_effort = 'low'", r"effort = 'low': gpt-realtime has none",
        id="effort",
    ),
    pytest.param(
        "[realtime]\ntruncation = 'auto'\nretention_ratio = 0.5", r"'auto' and retention_ratio = 0\.5: one",
        id="two truncations",
    ),
    pytest.param("[realtime]\naudio = 'opus'", r"realtime\.audio = 'opus': .*'match' or 'pcm24'", id="audio"),
    pytest.param("[realtime]\nspeed = nan", r"realtime\.speed = nan: ", id="not a number"),
    pytest.param("[realtime]\ntranscription_language = 'eng'", r"transcription_language = 'eng': ", id="language"),
    pytest.param("timezone = 'Kigali'", r"timezone = 'Kigali': there is no such time zone; allowed", id="zone"),
    pytest.param("timezone = '../../etc/passwd'", r"timezone = .*no such time zone", id="no zone"),
    pytest.param("[log]\nlevel = 'loud'", r"log\.level = 'loud': .*'debug', 'info'", id="log level"),
    pytest.param("[sip\nport = 1", r"not valid TOML: .*line 1", id="no TOML"),
    pytest.param("_env_file = 'x'", r"unknown key '_env_file'", id="underscore"),
    pytest.param("openai_base_url = 'x'", r"set the environment name OPENAI_BASE_URL", id="base URL in the file"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), FILE_FAULTS)
def test_a_fault_in_the_file_names_file_key_value_and_what_is_allowed(
    text: str, said: str, tmp_path: Path
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_settings(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")


ENVIRONMENT_FAULTS = [
    ("SIPUA_SIP__PROT", "1", r"^environment SIPUA_SIP__PROT: unknown name; allowed: SIPUA_SIP__PORT, "),
    ("SIPUA_SIP_PORT", "1", r"^environment SIPUA_SIP_PORT: unknown name; allowed: SIPUA_SIP__PORT"),
    ("SIPUA_HTTP__TRUSTED_PROXIES", "10.0.0.1", r"^environment SIPUA_HTTP__TRUSTED_PROXIES: expected JSON"),
    ("SIPUA_SIP", "{}", r"^environment SIPUA_SIP: unknown name"),
    ("sipua_sip__port", "1", r"^environment sipua_sip__port: unknown name; allowed: SIPUA_SIP__PORT"),
    ("SIPUA_DATABASE_URL", "postgresql://u:geheim@h/x", r"^environment SIPUA_DATABASE_URL: unknown name"),
    ("SIPUA_SIP__PORT", "many", r"^environment SIPUA_SIP__PORT: sip\.port = 'many': .*integer"),
    ("SIPUA_SIP__PORT", "", r"^environment SIPUA_SIP__PORT: sip\.port = ''"),
    ("SIPUA_RTP__PORT_MIN", "30000", r"^environment SIPUA_RTP__PORT_MIN: rtp: port_max 16999 leaves"),
    ("SIPUA_REALTIME__VOICE", "fable", r"^environment SIPUA_REALTIME__VOICE: realtime\.voice = 'fable'.*marin"),
    ("OPENAI_BASE_URL", "https://r.openai.azure.com/openai/realtime?api-version=1", r"preview interface"),
    ("OPENAI_BASE_URL", "localhost:1/v1", r"^environment OPENAI_BASE_URL: .*http\(s\)://host"),
    ("OPENAI_BASE_URL", "http://[::1", r"^environment OPENAI_BASE_URL: .*allowed"),
    ("OPENAI_BASE_URL", "http://h:99999/v1", r"^environment OPENAI_BASE_URL: .*allowed"),
    ("OPENAI_BASE_URL", "https://u:geheim@h/v1", r"^environment OPENAI_BASE_URL: .*allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "said"), ENVIRONMENT_FAULTS)
def test_a_fault_in_the_environment_names_it(
    name: str, value: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said) as caught:
        load_settings(tmp_path)
    assert "geheim" not in str(caught.value)


OWN_NAMES = """[realtime]
model = 'gpt-4o-realtime-preview'
transcription_model = 'whisper-1'
voice = '{voice}'
reasoning_effort = 'high'
"""


@pytest.mark.parametrize(
    ("base_url", "voice", "service"),
    [
        ("https://r.openai.azure.com", "marin", Service.AZURE),
        ("http://127.0.0.1:9/v1", "nova", Service.COMPATIBLE),
        ("http://127.0.0.1:9/v1", "af_heart", Service.COMPATIBLE),
    ],
)
def test_deployments_and_self_hosted_names_are_taken(
    base_url: str, voice: str, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    write(tmp_path, OWN_NAMES.format(voice=voice))
    settings = load_settings(tmp_path)
    assert settings.voice_service is service
    assert session_config(settings, AudioFormat.PCMU).voice == voice
    assert backend_of(settings).name == service


def test_what_a_server_can_do_is_the_owners_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert backend_of(load_settings(tmp_path)).capabilities.session_cap_s is None
    write(
        tmp_path,
        "[realtime]\naudio = 'pcm24'\nsession_cap_s = 900\nclient_truncates = false\nauth_header = 'X-Key'\n"
        "temperature = 0.0\nretention_ratio = 0.8",
    )
    settings = load_settings(tmp_path)
    backend = backend_of(settings)
    assert backend.capabilities == Capabilities(
        client_truncates=False, formats=frozenset({AudioFormat.PCM24}), session_cap_s=900.0
    )
    assert backend.endpoint("m").headers == {"X-Key": "k"}
    wire = session_config(settings, AudioFormat.PCMU).to_session()
    assert wire["temperature"] == 0.0
    assert wire["truncation"] == {"type": "retention_ratio", "retention_ratio": 0.8}


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, "[sip]\nport = -1\n[http]\nport = -1")
    with pytest.raises(ConfigError, match=r"sip\.port = -1(?s:.*)http\.port = -1"):
        load_settings(tmp_path)


def test_a_folder_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder; `sipua init"):
        load_settings(tmp_path / "typo")


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "sipua.toml").mkdir()
    with pytest.raises(ConfigError, match=r"sipua\.toml: cannot be read: Is a directory"):
        load_settings(tmp_path)
    (tmp_path / "sipua.toml").rmdir()
    (tmp_path / "sipua.toml").write_bytes(b"node = '\xff'")
    with pytest.raises(ConfigError, match=r"sipua\.toml: cannot be read: .* at byte 8"):
        load_settings(tmp_path)


# ---- whose turn it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize("vad", ["server_vad", "semantic_vad"])
@pytest.mark.parametrize(
    ("turns", "service_interrupts"),
    [("", True), ("protect_opening = true", False), ("pause_ms = 300", False), ("idle_s = 0", True)],
)
def test_who_interrupts_is_asked_of_the_service(
    vad: str, turns: str, service_interrupts: bool, tmp_path: Path
) -> None:
    write(tmp_path, f"[realtime.vad]\nkind = {vad!r}\nprefix_padding_ms = 200\n[turns]\n{turns}")
    if vad == "semantic_vad" and "pause_ms" in turns:
        with pytest.raises(
            ConfigError, match=r"sipua\.toml: turns\.pause_ms = 300: .*'semantic_vad'; allowed: server"
        ):
            load_settings(tmp_path)
        return
    settings = load_settings(tmp_path)
    detection = session_config(settings, AudioFormat.PCMU).turn_detection
    assert detection is not None
    assert (detection.interrupt_response, detection.create_response) == (service_interrupts, True)
    assert settings.turns.rules(settings.realtime.vad).prefix_ms == 200


# ---- secrets ---------------------------------------------------------------------------------------------


def test_the_shared_names_have_no_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = load_settings(tmp_path)
    assert (bare.database_url, bare.openai_api_key) == (None, None)
    assert bare.openai_base_url == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}\n")
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("OPENAI_BASE_URL", "ws://127.0.0.1:9/v1")
    settings = load_settings(tmp_path)
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == SECRET
    assert settings.database_url is None  # set but empty: unset
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)
    assert SECRET not in settings.model_dump_json()


@pytest.mark.parametrize(
    ("key", "table", "name", "variable"),
    [
        ("openai_api_key", "realtime", "api_key_file", "SIPUA_REALTIME__API_KEY_FILE"),
        ("database_url", "database", "url_file", "SIPUA_DATABASE__URL_FILE"),
    ],
)
def test_a_secret_from_a_file(
    key: str, table: str, name: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    conf = write(tmp_path, f"[{table}]\n{name} = '{secret}'")
    with pytest.raises(ConfigError, match=rf"sipua\.toml: {table}\.{name}: .*cannot be read: No such file"):
        load_settings(tmp_path)
    secret.write_text("\n")
    with pytest.raises(ConfigError, match=rf"{table}\.{name}: .*is empty"):
        load_settings(tmp_path)
    secret.write_text(SECRET + "\n")
    assert getattr(load_settings(tmp_path), key).get_secret_value() == SECRET
    monkeypatch.setenv(key.upper(), "sk-of-the-environment")
    assert getattr(load_settings(tmp_path), key).get_secret_value() == "sk-of-the-environment"
    monkeypatch.delenv(key.upper())
    conf.unlink()
    monkeypatch.setenv(variable, SECRET)  # the secret itself, pasted where its file belongs
    with pytest.raises(ConfigError, match=rf"environment {variable}: {table}\.{name}: ") as caught:
        load_settings(tmp_path)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"openai_api_key = '{SECRET}'", "set the environment name OPENAI_API_KEY"),
        (f"database_url = 'postgresql://u:{SECRET}@h/x'", "set the environment name DATABASE_URL"),
        (f"[realtime]\napi_key = '{SECRET}'", r"unknown key 'realtime\.api_key'"),
        (f"[database]\nurl = 'postgresql://u:{SECRET}@h/x'", r"unknown key 'database\.url'"),
        (
            f"[database]\nmigrate_url = 'postgresql://u:{SECRET}@h/x'",
            "set the environment name SIPUA_DATABASE__MIG",
        ),
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_shown(text: str, said: str, tmp_path: Path) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_settings(tmp_path)
    assert SECRET not in str(caught.value)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().sip.port = 1


# ---- the shipped file and the documents ------------------------------------------------------------------


def test_the_shipped_file_shows_the_defaults(tmp_path: Path) -> None:
    text = (shipped_conf() / "sipua.toml").read_text()
    assert tomllib.loads(text) == {
        name: {}
        for name in (
            "sip",
            "rtp",
            "http",
            "dashboard",
            "database",
            "ledger",
            "turns",
            "keys",
            "tools",
            "transfer",
            "callbacks",
            "alerts",
            "consent",
            "recording",
            "retention",
            "memory",
            "whatsapp",
            "openai_webhook",
            "spend",
            "currency",
            "outbound",
            "ingest",
            "twilio",
            "drill",
            "log",
            "tracing",
        )
    } | {"realtime": {"vad": {}}}
    plain = re.sub(r"(?m)^# ([a-z0-9_]+ = )", r"\1", text)
    plain = re.sub(r'(?m)^(node|state_dir) = "…".*$', "", plain)  # depend on the machine
    write(tmp_path, plain)
    assert load_settings(tmp_path) == Settings()
    shown = {
        f"{table}.{key}" if table else key for table, key in [(t, k) for t, k in _keys(tomllib.loads(plain))]
    } | {"node", "state_dir", "database.migrate_url"}  # the last by environment only
    assert shown == {name.removeprefix(PREFIX).lower().replace("__", ".") for name in environment_names()}


def _keys(tree: dict[str, object], table: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found += _keys(value, f"{table}.{key}".strip("."))
        else:
            found.append((table, key))
    return found


def test_the_shipped_trunks_load() -> None:
    loopback, *others = load_trunks(shipped_conf())
    assert not any(trunk.enabled for trunk in others)
    assert (loopback.name, loopback.admits("127.0.0.1"), loopback.admits("10.0.0.1")) == ("loopback", 8, -1)


@pytest.mark.parametrize("name", documents())
def test_the_committed_documents_are_what_the_code_says(name: str) -> None:
    text = documents()[name]
    assert (ROOT / "docs" / name).read_text() == text, "run `python -m sipua.reference docs`"


def test_every_key_is_explained() -> None:
    rows = [line for line in documents()["settings.md"].splitlines() if line.startswith("| ")][1:]
    assert [row for row in rows if row.endswith("|  |")] == []
    for field in Trunk.model_fields.values():
        assert field.description


@pytest.mark.parametrize(
    ("service", "include"), [("openai", ["item.input_audio_transcription.logprobs"]), ("compatible", None)]
)
def test_how_sure_a_transcription_is_is_asked_of_services_that_are_known(
    service: str, include: list[str] | None, tmp_path: Path
) -> None:
    write(tmp_path, f"[realtime]\nservice = '{service}'")
    assert session_config(load_settings(tmp_path), AudioFormat.PCMU).to_session().get("include") == include
    write(tmp_path, f"[realtime]\nservice = '{service}'\ntranscription_model = ''")
    assert "include" not in session_config(load_settings(tmp_path), AudioFormat.PCMU).to_session()
