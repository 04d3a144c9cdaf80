"""Trunk files: what is refused and how, and which trunk an INVITE belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipua.errors import ConfigError
from sipua.resources import shipped_conf
from sipua.trunk import Trunk, find_inbound
from sipua.trunk_files import load_trunk, load_trunks
from sipua.trunk_rules import (
    NOT_YET,
    code_policy_of,
    contradictions,
    health_rules_of,
    leg_rules_of,
    not_yet,
    number_plan_of,
    registration_rules_of,
    route_of,
)
from sipua.trunks.attempt import LegRules
from sipua.trunks.capacity import Limits
from sipua.trunks.numbers import dial
from sipua.trunks.policy import CodePolicy, HeaderMatch
from sipua.trunks.registration import RegistrationRules
from sipua.trunks.routing import Direction
from sipua.trunks.watch import HealthRules

HEAD = {"schema": 1, "name": "a", "provider": "p"}


def trunk(name: str, *networks: str, **values: object) -> Trunk:
    return Trunk.model_validate(HEAD | {"name": name, "inbound_acl": networks} | values)


def write(conf: Path, name: str, text: str) -> Path:
    folder = conf / "trunks"
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(text)
    return file


MINIMAL = 'schema = 1\nname = "a"\nprovider = "p"\n'

FAULTS = [
    pytest.param(MINIMAL + "acl = []", r"unknown key 'acl'\nallowed keys: schema, name, provider", id="key"),
    pytest.param('schema = 2\nname = "a"\nprovider = "p"', r"schema = 2: Input should be 1", id="schema"),
    pytest.param('name = "a"\nprovider = "p"', r"the key 'schema' is missing", id="no schema"),
    pytest.param("schema_version = 1\n" + MINIMAL, r"unknown key 'schema_version'", id="our name for it"),
    pytest.param(MINIMAL + "inbound_acl = ['10.0.0.0/33']", r"inbound_acl\.0 = '10.0.0.0/33': ", id="CIDR"),
    pytest.param(MINIMAL + "inbound_acl = ['10.0.0.1/8']", r"inbound_acl\.0 = '10.0.0.1/8': ", id="host bits"),
    pytest.param(MINIMAL + "inbound_acl = '10.0.0.0/8'", r"inbound_acl = '10.0.0.0/8': ", id="no list"),
    pytest.param(MINIMAL + "codecs = ['G729']", r"codecs = \['G729'\]: unknown codec G729; allowed: PCMU", id="codec"),
    pytest.param(MINIMAL + "codecs = ['opus', 'OPUS']", "a codec is named twice", id="twice in two cases"),
    pytest.param(MINIMAL + "codecs = []", r"codecs = \[\]: .*allowed: one or more of PCMU", id="no codec"),
    pytest.param(MINIMAL + "codecs = ['PCMU', 'PCMU']", r"a codec is named twice", id="codec twice"),
    pytest.param(MINIMAL + "direction = 'in'", r"direction = 'in': .*'both', 'inbound' or 'outbound'", id="direction"),
    pytest.param(MINIMAL + "rtp_timeout_s = 0", r"rtp_timeout_s = 0: .*1", id="no time-out"),
    pytest.param('schema = 1\nname = "A b"\nprovider = "p"', r"name = 'A b': ", id="name"),
    pytest.param("schema = ", r"not valid TOML: ", id="no TOML"),
    pytest.param(MINIMAL + "password = 'x'", r"unknown key 'password'\n", id="a secret in the file"),
    pytest.param(MINIMAL + "did_ranges = ['0788*']", r"did_ranges = \['0788\*'\]: .*no number pattern", id="DID"),
    pytest.param(MINIMAL + "domain = 'sip:a.example'", r"domain = 'sip:a.example': allowed: host", id="URI for host"),
    pytest.param(MINIMAL + "domain = 'a.example:65536'", r"domain = 'a.example:65536': .*port 1 to 65535", id="port"),
    pytest.param(MINIMAL + "to_format = 'E.164'", r"to_format = 'E.164': .*'\+e164', 'e164', 'national'", id="format"),
    pytest.param(MINIMAL + "tls_verify = false", r"tls_verify = False: .*allowed: true", id="unverified"),
    pytest.param(MINIMAL + "srtp_suites = ['X']", r"srtp_suites\.0 = 'X': .*AES_CM_128_HMAC_SHA1_80", id="suite"),
    pytest.param(MINIMAL + "caller_id = '0788'", r"caller_id = '0788': allowed: E.164 with \+", id="caller id"),
    pytest.param(MINIMAL + "dscp = 64", r"dscp = 64: .*63", id="DSCP"),
    pytest.param(MINIMAL + "public_ip = 'here'", r"public_ip = 'here': ", id="address"),
    pytest.param(MINIMAL + "extra_headers = { Via = 'x' }", r"'Via' may not be set; allowed: ", id="SIP's header"),
    pytest.param(MINIMAL + 'user_agent = "a\\nb"', r"user_agent = 'a\\nb': a header is one line", id="two lines"),
    pytest.param(MINIMAL + "failover_codes = [99]", r"failover_codes\.0 = 99: ", id="no code"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), FAULTS)
def test_a_fault_names_file_key_and_what_is_allowed(text: str, said: str, tmp_path: Path) -> None:
    file = write(tmp_path, "x.toml", text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_trunks(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")


def test_two_files_of_one_name_are_both_named(tmp_path: Path) -> None:
    first, second = (write(tmp_path, name, MINIMAL) for name in ("1.toml", "2.toml"))
    with pytest.raises(ConfigError) as caught:
        load_trunks(tmp_path)
    assert str(caught.value) == f"{second}: name = 'a' is already used by {first}"


def test_no_folder_is_no_trunk(tmp_path: Path) -> None:
    assert load_trunks(tmp_path) == ()


WIDE = trunk("wide", "0.0.0.0/0", "::/0")
OFFICE = trunk("office", "10.0.0.0/8", "10.1.0.0/16")
HOST = trunk("host", "10.1.2.3/32")
TWIN = trunk("twin", "10.1.2.3/32")
OFF = trunk("off", "10.9.0.0/16", enabled=False)
OUT = trunk("out", "10.9.0.0/16", direction="outbound")
SIX = trunk("six", "2001:db8::/32")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.1.2.3", "host"),  # the longest prefix, of equals the first
        ("10.1.2.4", "office"),
        ("10.9.0.1", "office"),  # what is off or only goes out does not count
        ("192.0.2.1", "wide"),
        ("2001:db8::1", "six"),
        ("2001:db9::1", "wide"),
    ],
)
def test_the_most_precise_network_decides(address: str, expected: str) -> None:
    for order in ((WIDE, OFFICE, HOST, TWIN, OFF, OUT, SIX), (SIX, OUT, OFF, HOST, TWIN, OFFICE, WIDE)):
        found = find_inbound(order, address)
        assert found is not None
        assert found.name == expected


@pytest.mark.parametrize("address", ["192.0.2.1", "10.9.0.1", "::1", "", "localhost"])
def test_a_stranger_belongs_to_no_trunk(address: str) -> None:
    assert find_inbound((HOST, OFF, OUT), address) is None


# ---- what contradicts itself -----------------------------------------------------------------------------
OFF_LINE = "enabled = false\n"

CONTRADICTIONS = [
    (
        "kind = 'register'\naor_user = 'a'\ndomain = 'r.example'",
        "needs registrar_uri; allowed: sip:HOST, or kind",
    ),
    (
        "registrar_uri = 'sip:r.example'",
        "registrar_uri = 'sip:r.example', kind = 'static': a static trunk does not",
    ),
    (
        "kind = 'register'\nregistrar_uri = 'sip:r.example'\ndomain = 'r.example'",
        "whose address is to be registered",
    ),
    ("direction = 'outbound'", "calls could go nowhere; set domain"),
    ("direction = 'inbound'", "nobody could call; name networks in inbound_acl"),
    (
        "srtp = 'mandatory'",
        "srtp = 'mandatory', transport = 'udp': SDES keys would travel in clear; allowed: transport",
    ),
    ("srtp = 'optional'\ntransport = 'tcp'", "SDES keys would travel in clear"),
    ("srtp = 'optional'\ntransport = 'tls'\nsrtp_suites = []", "srtp needs a suite"),
    ("tls_ca = '/ca.pem'", "only with transport = tls"),
    ("se = 100\nmin_se = 200", "min_se = 200, se = 100: min_se may not be longer"),
    ("rtp_port_min = 20000", "both are 0, or min is below max"),
    ("rtp_port_max = 20000", "both are 0, or min is below max"),
    ("rtp_port_min = 20001\nrtp_port_max = 20002", "an even port with the odd one above"),
    ("progress_timeout_s = 1", "the first response may not take longer than progress"),
    ("privacy = 'id'", "set both"),
    ("auth_user = 'u'", "auth_user = 'u': without a password; set password_env or password_file"),
    ("password_env = 'GEHEIM'", "password_env: a password without auth_user"),
    ("auth_user = 'u'\npassword_env = 'GEHEIM'\npassword_file = '/GEHEIM'", "in one of them, not in both"),
    ("inbound_auth_user = 'u'", "inbound_auth_user = 'u': without a password"),
    ("inbound_auth_user = 'u'\ninbound_password_file = '/GEHEIM'", "digest is asked of those on inbound_acl"),
    (
        "inbound_auth_user = 'u'\ninbound_password_file = '/GEHEIM'\ninbound_acl = ['::/0']\ndirection = 'outbound'"
        "\ndomain = 'a.example'",
        "digest is asked of those on inbound_acl",
    ),
    ("inbound_algorithms = []", "inbound_algorithms = []: Tuple should have at least 1 item"),
    ("failover_codes = [486]", "failover_codes = [486], final_codes = []: 486: speaks of the callee"),
    ("failover_codes = [480]\nfinal_codes = [480]", "480: in failover_codes and in final_codes"),
    ("options_interval_s = 3", "options_interval must be longer than options_timeout"),
    ("options_ok_codes = [503]", "408 and 503 are never healthy"),
    ("reg_retry_first_s = 100\nreg_retry_cap_s = 10", "0 < retry first <= retry cap"),
    ("region = 'XX'", "region 'XX' is unknown; allowed: ISO 3166"),
    (
        "per_number_credentials = [{ number = '+12025550100', password_env = 'A' }]",
        "is not in allowed_caller_ids",
    ),
    (
        "caller_id = '+12025550100'\nper_number_credentials = [{ number = '+12025550100' }]",
        "set one of password_env",
    ),
]


@pytest.mark.parametrize(("lines", "said"), CONTRADICTIONS)
def test_what_cannot_be_meant_is_refused(lines: str, said: str, tmp_path: Path) -> None:
    """Disabled trunks too: an edit of ``enabled`` is not the moment to learn it."""
    file = write(tmp_path, "x.toml", MINIMAL + OFF_LINE + lines)
    with pytest.raises(ConfigError) as caught:
        load_trunk(file)
    assert said in str(caught.value)
    assert all(line.startswith(f"{file}: ") for line in str(caught.value).splitlines())
    assert "GEHEIM" not in str(caught.value)


@pytest.mark.parametrize(
    "line", ["password_env = 123456", "inbound_password_file = ['123456']", "per_number_credentials = [{ number = "
             "'+12025550100', password_env = 123456 }]"],
)  # fmt: skip
def test_what_stands_where_a_password_is_named_is_never_shown(line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_trunk(write(tmp_path, "x.toml", MINIMAL + line))
    assert "password" in str(caught.value)
    assert "123456" not in str(caught.value)


# ---- what is not in this version, and what is to be provisioned --------------------------------------------

ASKED_FOR = {
    "refer": "refer = true",
}


@pytest.mark.parametrize("key", ASKED_FOR)
def test_an_enabled_trunk_may_not_ask_for_what_is_not_there(key: str, tmp_path: Path) -> None:
    file = write(tmp_path, "x.toml", MINIMAL + ASKED_FOR[key])
    with pytest.raises(
        ConfigError, match=rf"x\.toml: {key}[ :].*not in this version; .*or enabled = false"
    ) as caught:
        load_trunk(file)
    assert "GEHEIM" not in str(caught.value)
    file.write_text(MINIMAL + OFF_LINE + ASKED_FOR[key])
    assert not load_trunk(file).enabled


@pytest.mark.parametrize("way", ["rfc4733", "info", "inband"])
def test_keys_may_travel_in_three_ways(way: str, tmp_path: Path) -> None:
    assert load_trunk(write(tmp_path, "x.toml", MINIMAL + f"dtmf = '{way}'")).dtmf == way


def test_every_key_of_the_table_exists_and_its_default_is_what_happens_today() -> None:
    assert set(NOT_YET) == set(ASKED_FOR)
    assert set(NOT_YET) <= set(Trunk.model_fields)
    assert not_yet(trunk("a")) == []


def test_what_only_the_carrier_can_tell_is_listed_and_forbidden_when_enabled(tmp_path: Path) -> None:
    lines = "domain = 'ask MTN'\ncps = 'ask MTN'\ninbound_acl = ['ask MTN', '192.0.2.1/32']\n"
    file = write(tmp_path, "x.toml", MINIMAL + OFF_LINE + lines)
    found = load_trunk(file)
    assert found.asks == (("domain", "ask MTN"), ("cps", "ask MTN"), ("inbound_acl", "ask MTN"))
    assert (found.domain, found.cps, found.inbound_acl) == ("", 0.0, ())
    file.write_text(MINIMAL + lines)
    with pytest.raises(
        ConfigError, match="domain = 'ask MTN': not provisioned yet; set it or enabled = false"
    ):
        load_trunk(file)


def test_what_is_to_be_provisioned_contradicts_nothing(tmp_path: Path) -> None:
    lines = "kind = 'register'\nregistrar_uri = 'ask MTN'\ndomain = 'ask MTN'\nauth_user = 'ask MTN'\n"
    assert len(load_trunk(write(tmp_path, "x.toml", MINIMAL + OFF_LINE + lines)).asks) == 3


def test_a_key_that_nobody_knows_is_unknown_whatever_it_says(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key 'acl'"):
        load_trunk(write(tmp_path, "x.toml", MINIMAL + OFF_LINE + "acl = 'ask MTN'"))


# ---- the cores' values -------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_cores() -> None:
    plain = trunk("a")
    assert health_rules_of(plain) == HealthRules()
    assert leg_rules_of(plain) == LegRules()
    assert code_policy_of(plain) == CodePolicy()
    assert registration_rules_of(plain) == RegistrationRules()
    assert list(contradictions(plain)) == []


def test_the_values_of_a_file_reach_the_cores() -> None:
    full = trunk(
        "a", region="UG", to_format="e164", from_format="national", caller_id="+256772123456", may_dial=["+256*"],
        did_ranges=["+256772123456"], max_channels=3, cps=2, priority=1, weight=7, direction="outbound",
        failover_codes=[480], fatal_match=[{"code": 603, "header": "X-Twilio-Error"}], first_response_timeout_ms=2500,
        retry_after_cap_s=60, hold_down_s=5, open_after=1, options_interval_s=0, auth_user="u", password_env="X",
        reg_expires_s=600,
    )  # fmt: skip
    route = route_of(full)
    assert (route.priority, route.weight, route.direction) == (1, 7, Direction.OUTBOUND)
    assert (route.limits, "+256772123456" in route.did_ranges) == (Limits(3, 2.0), True)
    dialled = dial(number_plan_of(full), "0772123457")
    assert (dialled.to_user, dialled.from_user, dialled.auth_user) == ("256772123457", "0772123456", "u")
    legs = leg_rules_of(full)
    assert (legs.first_response_timeout_s, legs.has_credentials) == (2.5, True)
    assert legs.policy == CodePolicy(
        frozenset({480}), frozenset(), (HeaderMatch(603, "X-Twilio-Error"),), 60.0
    )
    rules = health_rules_of(full)
    assert (rules.hold_down_s, rules.open_after, rules.options_interval_s) == (5.0, 1, 0.0)
    assert registration_rules_of(full).expires_s == 600


def test_per_number_credentials_make_the_caller_the_digest_user() -> None:
    one = trunk(
        "a", region="UG", caller_id="+256772123456",
        per_number_credentials=[{"number": "+256772123456", "password_env": "X"}],
    )  # fmt: skip
    assert dial(number_plan_of(one), "+256772123457").auth_user == "772123456"
    assert leg_rules_of(one).has_credentials


# ---- what is shipped ---------------------------------------------------------------------------------------


def test_only_loopback_is_shipped_enabled() -> None:
    assert [each.name for each in load_trunks(shipped_conf()) if each.enabled] == ["loopback"]


def test_what_is_shipped_for_twilio_and_mtn() -> None:
    shipped = {each.name: each for each in load_trunks(shipped_conf())}
    twilio, mtn = shipped["twilio"], shipped["mtn"]
    assert code_policy_of(twilio).fatal_match == (HeaderMatch(603, "X-Twilio-Error"),)
    assert (twilio.cps, len(twilio.inbound_acl)) == (1.0, 8)
    assert {mark for _, mark in mtn.asks} == {"ask MTN"}
    assert (mtn.codecs[0], shipped["twilio-sip-domain"].kind) == ("PCMA", "register")


@pytest.mark.parametrize("name", ["twilio", "mtn"])
def test_enabling_after_provisioning_is_an_edit_of_that_one_file(name: str, tmp_path: Path) -> None:
    """Every "ask" line deleted or replaced, and enabled = true."""
    text = (shipped_conf() / "trunks" / f"{name}.toml").read_text()
    lines = [line for line in text.splitlines() if '= "ask ' not in line]
    edited = "\n".join(lines).replace("enabled = false", "enabled = true")
    assert load_trunk(write(tmp_path, f"{name}.toml", edited + "\ndomain = 'sip.example.net'\n")).enabled


def test_codecs_may_be_written_as_rtpmap_has_them(tmp_path: Path) -> None:
    file = write(tmp_path, "x.toml", MINIMAL + "codecs = ['opus', 'pcmu']")
    assert load_trunk(file).codecs == ("OPUS", "PCMU")
