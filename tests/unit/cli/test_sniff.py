"""``haagent sniff``: what is shown of a capture, what it is worth, and which captures are none."""

import gzip
import json
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import CookedLinux, Dot1Q, Ether
from scapy.packet import Packet
from scapy.utils import PcapNgWriter, wrpcap
from typer.testing import CliRunner, Result

from haagent.cli.main import app
from haagent.wire.heartbeat import encode
from haagent.wire.node import AgentEnd, NodeEnd
from tests.unit.wire.test_heartbeat import KEYRING, SOURCE
from tests.unit.wire.test_inspection import SAID
from tests.unit.wire.test_node import ACK, CLUSTER_KEY, HEARTBEAT as NODE_HEARTBEAT, KEY

KEY_TEXT = "haagent-key-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
"""Of the bytes 00 01 02 .. 1f, as in the tests of the wire format."""

PAYLOAD = encode(SAID, KEYRING, SOURCE)
FORGED = PAYLOAD[:-1] + bytes([PAYLOAD[-1] ^ 1])


def udp(payload: bytes, port: int = 6940) -> Packet:
    ip = IP(src=str(SOURCE), dst="224.0.0.254", ttl=255)
    return ip / UDP(sport=port, dport=port) / payload


def frame(payload: bytes) -> Packet:
    return Ether(src="02:00:c0:00:02:01", dst="01:00:5e:00:00:fe") / udp(payload)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A heartbeat, a forgery, garbage, and what is none of ours."""
    file = tmp_path / "capture.pcap"
    packets = [frame(PAYLOAD), frame(FORGED), frame(b"garbage")]
    wrpcap(str(file), [*packets, Ether() / udp(b"a question", port=53), Ether() / b"no IP"])
    return file


@pytest.fixture
def key(tmp_path: Path) -> tuple[str, ...]:
    file = tmp_path / "cluster.key"
    file.touch(mode=0o600)
    file.write_text(KEY_TEXT)
    return "--key", str(file), "--cluster", "example", "--group", "web"


def sniff(file: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["sniff", "--pcap", str(file), *options])


def test_each_datagram_is_a_line_with_its_proof(capture: Path, key: tuple[str, ...]) -> None:
    done = sniff(capture, *key)

    genuine, forged, garbage = (line.split("  ", 1)[1] for line in done.stdout.splitlines())
    said = (
        "HEARTBEAT from lb1 in web: master, term 7, master lb1, priority 150, effective 140, "
        "health 100, next in 200 ms, dead after 600 ms, hlc 1700000000123.2 lamport 99000, "
        "flags electable, boot 00000005c0ffee11, sequence 4242, path 1; name=lb1 reason=handover "
        "role_age_ms=61000 heard=[{node=839f0d763be745ec sequence_low=17 age_us=150250 "
        "by_unicast_only=False}] config_hash=0123456789abcdef"
    )
    way = "-  192.0.2.1 > 224.0.0.254 ttl 255"
    assert genuine == f"{way}  ok  {said}"
    assert forged == f"{way}  BAD MAC  claims [{said}]"
    assert garbage == f"{way}  unverified  malformed: 7 bytes"
    assert done.exit_code == 0


def test_without_a_key_all_that_is_said_is_a_claim(capture: Path) -> None:
    first, *_ = sniff(capture).stdout.splitlines()

    assert "  unverified  claims [HEARTBEAT from lb1 in 4b5e: master" in first


def test_json_keeps_claims_apart_from_what_is_proven(capture: Path, key: tuple[str, ...]) -> None:
    genuine, forged, garbage = map(json.loads, sniff(capture, "--json", *key).stdout.splitlines())

    assert (genuine["proof"], genuine["says"]["header"]["sender"]) == ("ok", "lb1")
    assert (forged["proof"], forged["claims"]) == ("bad_mac", genuine["says"])
    assert "says" not in forged
    assert garbage["discard"] == {"reason": "malformed", "detail": "7 bytes"}
    assert genuine["source"] == "192.0.2.1"
    assert genuine["bytes"] == len(PAYLOAD)


def test_app_nodes_and_the_answers_to_them_are_shown(tmp_path: Path, key: tuple[str, ...]) -> None:
    file = tmp_path / "nodes.pcap"
    answer = AgentEnd(CLUSTER_KEY, "example").encode(ACK)
    back = Ether() / IP(src="192.0.2.11") / UDP(sport=6941, dport=40_000) / answer
    heartbeat = NodeEnd(KEY, "example", "app1").encode(NODE_HEARTBEAT)
    wrpcap(str(file), [Ether() / udp(heartbeat, port=6941), back])

    first, second = sniff(file, *key).stdout.splitlines()

    assert "  ok  NODE_HEARTBEAT sender=app1" in first
    assert "services=[{name=web port=8080 weight=100 healthy=True}]" in first
    assert "  ok  NODE_ACK destination=app1" in second


@pytest.mark.parametrize("layer", [Ether() / Dot1Q(vlan=5), CookedLinux(proto=0x0800)])
def test_other_link_layers_are_read(tmp_path: Path, layer: Packet) -> None:
    file = tmp_path / "capture.pcap"
    wrpcap(str(file), [layer / udp(PAYLOAD)])

    assert "HEARTBEAT from lb1" in sniff(file).stdout


def test_pcapng_and_gzip_are_read(tmp_path: Path, capture: Path) -> None:
    packed, modern = tmp_path / "capture.pcap.gz", tmp_path / "capture.pcapng"
    packed.write_bytes(gzip.compress(capture.read_bytes()))
    writer = PcapNgWriter(str(modern))
    one = frame(PAYLOAD)
    one.time = 1_700_000_000.25
    writer.write(one)
    writer.close()

    assert sniff(packed).stdout == sniff(capture).stdout
    shown = json.loads(sniff(modern, "--json").stdout)
    assert shown["time"] == "2023-11-14T22:13:20.250000Z"


def test_count_ends_it(capture: Path) -> None:
    assert len(sniff(capture, "--count", "2").stdout.splitlines()) == 2


LAST_RECORD = 16 + 14 + 5


@pytest.mark.parametrize("missing", [1, LAST_RECORD - 16, LAST_RECORD - 1, LAST_RECORD + 1])
def test_a_capture_that_is_cut_is_shown_up_to_there_and_said(capture: Path, missing: int) -> None:
    """In the last packet, behind its header, and in the packet before."""
    capture.write_bytes(capture.read_bytes()[:-missing])

    done = sniff(capture)

    assert len(done.stdout.splitlines()) == 3
    assert (done.exit_code, done.stderr) == (
        1,
        f"haagent: {capture}: is cut: it ends within a packet\n",
    )


def test_a_capture_that_ends_behind_a_packet_is_whole(capture: Path) -> None:
    capture.write_bytes(capture.read_bytes()[:-LAST_RECORD])

    done = sniff(capture)

    assert (done.exit_code, done.stderr) == (0, "")


def test_a_pcapng_that_is_cut_is_said(tmp_path: Path) -> None:
    file = tmp_path / "capture.pcapng"
    writer = PcapNgWriter(str(file))
    writer.write(frame(PAYLOAD))
    writer.write(frame(PAYLOAD))
    writer.close()
    assert sniff(file).exit_code == 0
    file.write_bytes(file.read_bytes()[:-30])

    done = sniff(file)

    assert len(done.stdout.splitlines()) == 1
    assert (done.exit_code, done.stderr) == (
        1,
        f"haagent: {file}: is cut: it ends within a packet\n",
    )


@pytest.mark.parametrize(
    "content", [b"", b"\xd4", b"not a capture at all", b"\n\r\r\n" + bytes(40)]
)
def test_what_is_no_capture_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "capture.pcap"
    file.write_bytes(content)

    done = sniff(file)

    assert (done.exit_code, done.stdout) == (1, "")
    assert f"haagent: {file}: is no capture" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = sniff(tmp_path / "gone.pcap")

    assert done.exit_code == 1
    assert "gone.pcap: cannot be read: No such file or directory" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--cluster", "example"),
        ("--key", "k"),
        ("--group", "web"),
        ("--key", "k", "--cluster", "c", "-c", "f"),
        ("--interface", "eth0"),
        ("--count", "0"),
    ],
)
def test_options_that_do_not_fit_are_bad_usage(capture: Path, options: tuple[str, ...]) -> None:
    assert sniff(capture, *options).exit_code == 2


def test_a_key_that_cannot_be_used_is_said(capture: Path, tmp_path: Path) -> None:
    done = sniff(capture, "--key", str(tmp_path / "gone.key"), "--cluster", "example")

    assert done.exit_code == 2
    assert "gone.key: does not exist" in done.stderr
