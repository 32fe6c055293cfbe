"""Keys and codes, against the test vectors of the RFC and against an independent HMAC."""

import hmac
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address

import pytest

from haagent.core.identity import GroupId, cluster_id, group_id
from haagent.wire.auth import Keyring, derive_key, hkdf_sha256

CLUSTER_KEY = bytes(range(32))
WEB = group_id("web")
SOURCE = IPv4Address("192.0.2.1")


def keyring() -> Keyring:
    return Keyring(CLUSTER_KEY, "example", ["web", "mail"])


@pytest.mark.parametrize(
    ("key", "salt", "info", "expected"),
    [
        (
            b"\x0b" * 22,
            bytes(range(13)),
            bytes(range(0xF0, 0xFA)),
            """3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf
            34007208d5b887185865""",
        ),
        (
            bytes(range(0x50)),
            bytes(range(0x60, 0xB0)),
            bytes(range(0xB0, 0x100)),
            """b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c
            59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71
            cc30c58179ec3e87c14c01d5c1f3434f1d87""",
        ),
        (
            b"\x0b" * 22,
            b"",
            b"",
            """8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d
            9d201395faa4b61a96c8""",
        ),
    ],
    ids=["A.1", "A.2", "A.3"],
)
def test_hkdf_gives_the_test_vectors_of_rfc_5869(
    key: bytes, salt: bytes, info: bytes, expected: str
) -> None:
    wanted = bytes.fromhex(expected)

    assert hkdf_sha256(key, salt, info, len(wanted)) == wanted


def test_a_key_serves_one_cluster_one_group_and_one_purpose() -> None:
    keys = {
        derive_key(CLUSTER_KEY, "example", "web", "peer"),
        derive_key(CLUSTER_KEY, "other", "web", "peer"),
        derive_key(CLUSTER_KEY, "example", "mail", "peer"),
        derive_key(CLUSTER_KEY, "example", "web", "node"),
        derive_key(bytes(32), "example", "web", "peer"),
    }

    assert len(keys) == 5


@pytest.mark.parametrize("names", [("exa", "mpleweb"), ("example|web", ""), ("", "exampleweb")])
def test_names_that_read_the_same_when_joined_have_different_keys(names: tuple[str, str]) -> None:
    joined = derive_key(CLUSTER_KEY, *names, "peer")

    assert joined != derive_key(CLUSTER_KEY, "example", "web", "peer")


def test_a_code_is_the_hmac_over_the_message_the_source_and_the_path() -> None:
    info = b"\0\x09haagent/1\0\x07example\0\x03web\0\x04peer"
    extracted = hmac.new(bytes(32), CLUSTER_KEY, sha256).digest()
    key = hmac.new(extracted, info + b"\x01", sha256).digest()
    expected = hmac.new(key, b"message" + b"\xc0\x00\x02\x01" + b"\x07", sha256).digest()[:16]

    assert keyring().mac(b"message", group=WEB, source=SOURCE, path=7) == expected


def test_a_code_changes_with_everything_that_it_covers() -> None:
    ring = keyring()
    codes = {
        ring.mac(b"message", group=WEB, source=SOURCE, path=0),
        ring.mac(b"massage", group=WEB, source=SOURCE, path=0),
        ring.mac(b"message", group=group_id("mail"), source=SOURCE, path=0),
        ring.mac(b"message", group=WEB, source=IPv4Address("192.0.2.2"), path=0),
        ring.mac(b"message", group=WEB, source=IPv6Address("2001:db8::1"), path=0),
        ring.mac(b"message", group=WEB, source=SOURCE, path=1),
    }

    assert len(codes) == 6


def test_the_interface_in_a_link_local_address_is_not_covered() -> None:
    """The name of the interface means something on one host only."""
    ring = keyring()
    here = ring.mac(b"", group=WEB, source=IPv6Address("fe80::1%eth0"), path=0)

    assert here == ring.mac(b"", group=WEB, source=IPv6Address("fe80::1%ens3"), path=0)


def test_a_keyring_knows_its_cluster_and_its_groups_alone() -> None:
    ring = keyring()

    assert ring.cluster == cluster_id("example")
    assert WEB in ring
    assert GroupId(WEB ^ 1) not in ring


def test_two_groups_of_one_id_are_refused_by_name() -> None:
    names = (f"g{number}" for number in range(1 << 17))
    twin = next(name for name in names if group_id(name) == WEB)

    with pytest.raises(ValueError, match=f"group '{twin}' has the id of another group"):
        Keyring(CLUSTER_KEY, "example", ["web", twin])
