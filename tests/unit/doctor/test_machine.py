"""What the host's own files and tools say, as the doctor reads them."""

from pathlib import Path

import pytest

from haagent.doctor import machine
from haagent.doctor.vendors import vendor

INPUT = {"chain": {"family": "inet", "table": "f", "name": "in", "hook": "input", "policy": "drop"}}


def rule(**right: object) -> dict[str, object]:
    match = {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, **right}
    return {"rule": {"family": "inet", "table": "f", "chain": "in", "expr": [{"match": match}]}}


@pytest.mark.parametrize(
    ("entries", "closed"),
    [
        ([INPUT], ["chain in of nftables' table inet f"]),
        ([INPUT, rule(right=22)], ["chain in of nftables' table inet f"]),
        ([INPUT, rule(right=6940)], []),
        ([INPUT, rule(right={"set": [22, 6940]})], []),
        ([INPUT, rule(right={"set": [{"range": [6900, 7000]}]})], []),
        ([{"chain": INPUT["chain"] | {"policy": "accept"}}], []),
        ([{"chain": INPUT["chain"] | {"hook": "forward"}}], []),
        ([], []),
    ],
)
def test_a_chain_that_drops_and_never_names_the_port_is_closed(
    entries: list[object], closed: list[str]
) -> None:
    assert list(machine.closed_chains({"nftables": entries}, 6940)) == closed


@pytest.fixture
def networkd(tmp_path: Path) -> Path:
    """systemd-networkd that manages the interface with the index 2."""
    links = tmp_path / "systemd/netif/links"
    links.mkdir(parents=True)
    network = tmp_path / "eth0.network"
    network.write_text("[Match]\nName=eth0\n[Network]\nDHCP=yes\n")
    (links / "2").write_text(f"# private\nADMIN_STATE=configured\nNETWORK_FILE={network}\n")
    return tmp_path


def manager(run: Path) -> str | None:
    return machine.managers(["eth0"], run, lambda _name: 2).get("eth0")


def test_an_interface_of_networkd_is_managed_unless_it_keeps_what_it_finds(networkd: Path) -> None:
    assert manager(networkd) == "systemd-networkd"

    network = networkd / "eth0.network"
    network.write_text(network.read_text() + "KeepConfiguration=static\n")
    assert manager(networkd) == "systemd-networkd"
    network.write_text(network.read_text() + "KeepConfiguration=yes\n")
    assert manager(networkd) is None


def test_a_drop_in_of_networkd_counts_last(networkd: Path) -> None:
    drop_in = networkd / "keep.conf"
    drop_in.write_text("[Network]\nKeepConfiguration = yes\n")
    state = networkd / "systemd/netif/links/2"
    state.write_text(state.read_text() + f'NETWORK_FILE_DROPINS="{drop_in}"\n')

    assert manager(networkd) is None


def test_an_interface_that_networkd_leaves_alone_is_not_managed(networkd: Path) -> None:
    (networkd / "systemd/netif/links/2").write_text("ADMIN_STATE=unmanaged\n")

    assert manager(networkd) is None
    assert manager(networkd / "gone") is None


@pytest.mark.parametrize(("told", "who"), [("true", "NetworkManager"), ("false", None)])
def test_networkmanager_says_what_it_manages(tmp_path: Path, told: str, who: str | None) -> None:
    devices = tmp_path / "NetworkManager/devices"
    devices.mkdir(parents=True)
    (devices / "2").write_text(f"[device]\nmanaged={told}\nconnection-uuid=5f\n")

    assert manager(tmp_path) == who


@pytest.mark.parametrize(
    ("mac", "who"),
    [
        ("00:00:5e:00:01:33", "VRRP over IPv4: keepalived or a router"),
        ("52:54:00:12:34:56", "QEMU or KVM"),
        ("02:42:00:00:00:01", "made up by its host: virtual machine, container or bond"),
        ("3c:fd:fe:00:00:01", "Intel Corporate"),
        ("00:11:22:33:44:55", ""),
    ],
)
def test_vendors_are_known_by_prefix(tmp_path: Path, mac: str, who: str) -> None:
    listed = tmp_path / "oui.txt"
    listed.write_text("OUI\n3C-FD-FE   (hex)\t\tIntel Corporate\n3CFDFE     (base 16)\t\tother\n")

    assert vendor(mac, (tmp_path / "gone", listed)) == who


def test_a_list_of_vendors_that_is_missing_makes_nobody_known(tmp_path: Path) -> None:
    assert vendor("3c:fd:fe:00:00:02", (tmp_path / "gone",)) == ""
