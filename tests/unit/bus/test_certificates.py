"""Certificates that follow from the cluster key, and the hello that has to agree with them."""

from datetime import datetime
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from haagent.bus.certificates import Certificates, certificates
from haagent.bus.hello import certificate_name, difference, hello
from haagent.core.identity import BootId, NodeId, node_id
from haagent.core.status import PathStatus, PeerStatus
from haagent.core.units import MonoNs
from haagent.wire.auth import derive_bus_seed, derive_key

KEY = bytes(range(32))
LB2 = PeerStatus(
    name="lb2",
    node=node_id("lb2"),
    boot=BootId(5),
    alive=True,
    last_heard=MonoNs(0),
    hears_us=True,
    paths=(
        PathStatus(
            interface="eth0",
            source=ip_address("192.0.2.12"),
            last_heard=MonoNs(0),
            loss_permille=None,
            round_trip=None,
        ),
    ),
    roles=(),
)


def made(cluster_key: bytes = KEY, cluster: str = "shop", node: str = "lb1") -> Certificates:
    return certificates(derive_bus_seed(cluster_key, cluster), cluster, node)


def authority(of: Certificates) -> x509.Certificate:
    return x509.load_pem_x509_certificate(of["authority"].encode())


def certificate(of: Certificates) -> x509.Certificate:
    return x509.load_pem_x509_certificate(of["certificate"].encode())


def issued_by(leaf: Certificates, root: Certificates) -> bool:
    try:
        certificate(leaf).verify_directly_issued_by(authority(root))
    except Exception:
        return False
    return True


def test_every_agent_of_the_cluster_makes_the_same_authority() -> None:
    one, other = made(node="lb1"), made(node="lb2")

    assert authority(one).public_key() == authority(other).public_key()
    assert issued_by(one, other)
    assert issued_by(other, one)


@pytest.mark.parametrize(("key", "cluster"), [(bytes(32), "shop"), (KEY, "mail")])
def test_another_key_or_another_cluster_makes_another(key: bytes, cluster: str) -> None:
    stranger = made(key, cluster)

    assert not issued_by(stranger, made())
    assert not issued_by(made(), stranger)


def test_the_authority_is_the_one_of_the_first_version() -> None:
    """Agents of another version must come to the same key."""
    numbers = authority(made()).public_key()
    assert isinstance(numbers, ec.EllipticCurvePublicKey)

    assert (
        f"{numbers.public_numbers().x:064x}"
        == "cb90eb80e8bf03631afac34ac9eaa4fdcbf3448c39dbf4fe9b76469b2a34f72a"
    )


def test_no_other_key_that_is_handed_out_leads_to_the_authority() -> None:
    """App nodes have keys that are derived from the cluster key as well."""
    assert derive_bus_seed(KEY, "shop") != derive_key(KEY, "shop", f"{node_id('lb1'):016x}", "node")


def test_a_certificate_names_its_agent_and_is_of_a_key_of_its_own() -> None:
    one, again = made(), made()
    leaf = certificate(one)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    key = load_pem_private_key(one["key"].encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)

    assert names.get_values_for_type(x509.DNSName) == [certificate_name(node_id("lb1"))]
    assert leaf.subject.rfc4514_string() == "CN=lb1,O=shop"
    assert key.public_key() == leaf.public_key()
    assert one["key"] != again["key"]


def test_certificates_are_good_whatever_the_clock_says() -> None:
    for each in (authority(made()), certificate(made())):
        assert each.not_valid_before_utc.replace(tzinfo=None) == datetime(1970, 1, 1)  # noqa: DTZ001
        assert each.not_valid_after_utc.year == 9999


def test_an_agent_cannot_make_certificates_for_others_from_its_own() -> None:
    constraints = certificate(made()).extensions.get_extension_for_class(x509.BasicConstraints)

    assert constraints.critical
    assert not constraints.value.ca


def test_names_of_any_length_fit() -> None:
    longest = "n" * 63

    assert certificate(made(cluster=longest, node=longest)).subject.rfc4514_string() == (
        f"CN={longest},O={longest}"
    )


def test_a_hello_that_heartbeats_agree_with_is_taken() -> None:
    said = hello("shop", "lb2", node_id("lb2"), BootId(5), 1)

    assert difference(said, LB2, "shop") == ""


@pytest.mark.parametrize(
    ("cluster", "node", "identity", "boot", "why"),
    [
        ("mail", "lb2", node_id("lb2"), 5, "is of cluster 'mail', not 'shop'"),
        ("shop", "lb3", node_id("lb3"), 5, "is 'lb3', not 'lb2'"),
        ("shop", "lb2", node_id("lb3"), 5, "is 'lb2', not 'lb2'"),
        ("shop", "lb2", node_id("lb2"), 6, "is of another boot than its heartbeats"),
        ("", "", 0, 0, "is of cluster '', not 'shop'"),
    ],
)
def test_any_other_hello_is_not(
    cluster: str, node: str, identity: int, boot: int, why: str
) -> None:
    said = hello(cluster, node, NodeId(identity), BootId(boot), 1)

    assert difference(said, LB2, "shop") == why
