"""Trunk files: what is refused and how, and which trunk an INVITE belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipua.errors import ConfigError
from sipua.trunk import Trunk, find_inbound, load_trunks

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
    pytest.param(MINIMAL + "codecs = ['pcmu']", r"unknown codec pcmu; allowed: PCMU", id="lower case"),
    pytest.param(MINIMAL + "codecs = []", r"codecs = \[\]: ", id="no codec"),
    pytest.param(MINIMAL + "codecs = ['PCMU', 'PCMU']", r"a codec is named twice", id="codec twice"),
    pytest.param(MINIMAL + "direction = 'in'", r"direction = 'in': .*'both', 'inbound' or 'outbound'", id="direction"),
    pytest.param(MINIMAL + "rtp_timeout_s = 0", r"rtp_timeout_s = 0: .*1", id="no time-out"),
    pytest.param('schema = 1\nname = "A b"\nprovider = "p"', r"name = 'A b': ", id="name"),
    pytest.param("schema = ", r"not valid TOML: ", id="no TOML"),
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
