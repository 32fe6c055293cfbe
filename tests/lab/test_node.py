"""An app node as the network and systemd see it: its pace, its news, its answers, its end."""

import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from haagent.config import new_key, read_key, read_node_key
from haagent.core.appnode.sender import LOAD_STEP_PERMILLE
from haagent.core.identity import node_id
from haagent.core.messages import Discard, NodeHeartbeat
from haagent.lab.agents import with_capabilities
from haagent.lab.cluster import CONFIGURATIONS
from haagent.lab.nodes import Node, node_text
from haagent.lab.process import Process
from haagent.lab.topology import Lab
from haagent.wire.node import AgentEnd

MS = 1_000_000
SECOND = 1000 * MS
LATE = 150 * MS
"""How much later than sent a heartbeat may be heard on a busy machine."""

UNIT = CONFIGURATIONS.parent / "deploy" / "systemd" / "haagent-node.service"

AGENT = """
import select, socket, struct, sys, time
from pathlib import Path
from haagent.config import read_key
from haagent.core.identity import node_id
from haagent.core.messages import NodeAck
from haagent.wire.node import AgentEnd

end = AgentEnd(read_key(Path(sys.argv[1])), "shop")
interval_ms = int(sys.argv[2])
index = socket.if_nametoindex("eth0")
v4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group = struct.pack("=4s4si", socket.inet_aton("224.0.0.254"), bytes(4), index)
v4.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
v6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
group = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, "ff02::114"), index)
v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
for sock in v4, v6:
    sock.bind(("", 6941))
print("listening", flush=True)
while True:
    for sock in select.select([v4, v6], [], [])[0]:
        payload, source = sock.recvfrom(2048)
        print(time.monotonic_ns(), source[0], payload.hex(), flush=True)
        heard = end.decode(payload)
        if interval_ms and (heard.nonce, heard.interval_ms) != (77, interval_ms):
            ack = NodeAck(
                destination=heard.sender, agent=node_id("lb1"), boot=heard.boot, nonce=77,
                sequence=heard.sequence, interval_ms=interval_ms, jitter_ms=interval_ms // 10,
            )
            sock.sendto(end.encode(ack), source)
"""
"""Hears heartbeats where an agent does, and answers as one that dictates an interval, if any."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One heartbeat, and when it arrived."""

    at_ns: int
    heartbeat: NodeHeartbeat


@dataclass(frozen=True, slots=True)
class Scene:
    """A node that is not started, and a host that stands where an agent would."""

    lab: Lab
    node: Node
    end: AgentEnd

    def listen(self, interval_ms: int = 0) -> "Ear":
        """Begin to hear, and to answer when there is something to dictate."""
        agent = self.lab.hosts["lb1"]
        key = str(agent.directory / "cluster.key")
        process = agent.start("ear", sys.executable, "-c", AGENT, key, str(interval_ms))
        self.lab.wait_until(process.log_text, 10, "it listens")
        return Ear(self, process)

    def until_said(self, text: str) -> None:
        """Wait until the node has logged ``text``."""
        self.lab.wait_until(lambda: text in self.node.process.log_text(), 15, text)


@dataclass(frozen=True, slots=True)
class Ear:
    """What is heard."""

    scene: Scene
    process: Process

    def heard(self, since_ns: int = 0) -> list[Heard]:
        """Every heartbeat so far; all that arrives must be one."""
        found = []
        # What stands behind the last line feed is not whole yet.
        for line in self.process.log_text().split("\n")[1:-1]:
            at_ns, _source, payload = line.split()
            heartbeat = self.scene.end.decode(bytes.fromhex(payload))
            assert not isinstance(heartbeat, Discard), heartbeat
            if int(at_ns) >= since_ns:
                found.append(Heard(int(at_ns), heartbeat))
        return found

    def until(self, count: int, since_ns: int = 0) -> list[Heard]:
        """So many heartbeats, once they have been heard."""
        self.scene.lab.wait_until(
            lambda: len(self.heard(since_ns)) >= count, 20, f"{count} heartbeats"
        )
        return self.heard(since_ns)

    def until_healthy(self, healthy: bool) -> Heard:
        """The first of the newest heartbeats that say so of the service."""

        def found() -> Heard | None:
            first = None
            for each in reversed(self.heard()):
                if each.heartbeat.services[0].healthy is not healthy:
                    break
                first = each
            return first

        return self.scene.lab.wait_until(found, 15, f"healthy: {healthy}")


@pytest.fixture
def scene(lab: Lab) -> Scene:
    agent, app = lab.add_host("lb1", 11), lab.add_host("app1", 21)
    key_file = agent.directory / "cluster.key"
    key_file.touch(0o600)
    key_file.write_text(new_key())
    node = Node(app, node_text("app1"), key_file)
    return Scene(lab, node, AgentEnd(read_key(key_file), "shop"))


@dataclass(frozen=True, slots=True)
class Manager:
    """What systemd would hear."""

    socket: socket.socket
    environment: dict[str, str]

    def next(self) -> list[str]:
        """The next message about more than the watchdog or the status, by lines."""
        while True:
            lines = self.socket.recv(4096).decode().splitlines()
            if lines != ["WATCHDOG=1"] and not lines[0].startswith("STATUS="):
                return lines

    def until_silent(self) -> Iterator[bytes]:
        """What is still heard until nothing comes for as long as the socket waits."""
        with suppress(TimeoutError):
            while True:
                yield self.socket.recv(4096)


@pytest.fixture
def manager(scene: Scene) -> Iterator[Manager]:
    address = str(scene.node.host.directory / "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(10)
        yield Manager(listening, {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "900000"})


def test_heartbeats_come_at_the_nodes_own_place_once_a_second(
    scene: Scene, manager: Manager
) -> None:
    ear = scene.listen()
    scene.node.start(environment=manager.environment)
    assert manager.next()[0] == "READY=1"
    ready_ns = time.monotonic_ns()

    first, *rest = heard = ear.until(7)

    place = node_id("app1") % SECOND
    assert place - 50 * MS - LATE <= first.at_ns - ready_ns <= place + 50 * MS + LATE
    dues = (first.at_ns + n * SECOND for n in range(1, (rest[-1].at_ns - first.at_ns) // SECOND))
    for due in dues:
        assert any(abs(each.at_ns - due) <= 100 * MS + LATE for each in rest)
    for before, each in pairwise(heard):
        off = (each.at_ns - first.at_ns + SECOND // 2) % SECOND - SECOND // 2
        # A busy machine has something to tell in between.
        assert abs(off) <= 100 * MS + LATE or is_step(before, each)
    assert [each.heartbeat.sequence for each in heard] == list(range(1, len(heard) + 1))
    assert {each.heartbeat.boot for each in heard} == {heard[0].heartbeat.boot}
    services = heard[-1].heartbeat.services
    assert [(each.name, each.port, each.healthy) for each in services] == [("app", 8080, True)]
    assert str(heard[-1].heartbeat.address) == "192.0.2.21"
    assert heard[-1].heartbeat.load.memory_permille > 0


def test_an_agent_that_dictates_is_obeyed_and_answered_at_once(scene: Scene) -> None:
    ear = scene.listen(interval_ms=200)
    scene.node.start()

    hello, proof, *rest = ear.until(9)

    assert (hello.heartbeat.nonce, hello.heartbeat.interval_ms) == (0, 1000)
    assert (proof.heartbeat.nonce, proof.heartbeat.interval_ms) == (77, 200)
    assert proof.at_ns - hello.at_ns <= LATE
    gaps = [after.at_ns - before.at_ns for before, after in pairwise(rest)]
    assert all(gap <= 220 * MS + LATE for gap in gaps), gaps
    # A restless machine is told of in between.
    assert sum(gap >= 180 * MS - LATE for gap in gaps) >= 2, gaps


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ('interface: eth0, group: "ff02::114"', "2001:db8::21"),
        ("interface: eth0, agents: [192.0.2.11]", "192.0.2.21"),
        ('interface: eth0, agents: ["2001:db8::11"]', "2001:db8::21"),
    ],
    ids=["multicast by IPv6", "unicast", "unicast by IPv6"],
)
def test_every_kind_of_path_leads_to_the_agents_and_back(
    scene: Scene, path: str, address: str
) -> None:
    scene.node.configure(node_text("app1").replace("interface: eth0", path))
    ear = scene.listen(interval_ms=300)
    scene.node.start()

    heartbeat = ear.until(2)[-1].heartbeat

    assert (heartbeat.nonce, heartbeat.interval_ms) == (77, 300)
    assert str(heartbeat.address) == address


def test_a_service_that_fails_is_told_of_at_once_and_so_is_its_return(scene: Scene) -> None:
    scene.node.configure(
        node_text("app1", check='{tcp: "127.0.0.1:8080", interval: 200ms, rise: 1, fall: 1}')
    )
    ear = scene.listen()
    scene.node.start()
    scene.until_said("service app is unhealthy: 127.0.0.1:8080: connection refused")
    assert not ear.until_healthy(False).heartbeat.services[0].healthy

    server = scene.node.host.start_module("web", "haagent.lab.webserver", "app1", "8080")
    ear.until_healthy(True)
    killed_ns = server.kill()

    told = ear.until_healthy(False)
    assert told.at_ns - killed_ns <= 200 * MS + 2 * LATE


def test_a_stopped_node_says_goodbye_three_times_and_a_killed_one_nothing(scene: Scene) -> None:
    ear = scene.listen()
    process = scene.node.start()
    ear.until(1)

    stopped_ns = process.stop()

    goodbyes = ear.until(3, stopped_ns)
    assert [each.heartbeat.leaving for each in goodbyes] == [True] * 3
    assert goodbyes[-1].at_ns - stopped_ns < 100 * MS + LATE
    assert process.exit_code == 0

    before = len(ear.heard())
    process = scene.node.start()
    ear.until(before + 1)
    killed_ns = process.kill()
    assert not [each for each in ear.heard(killed_ns) if each.heartbeat.leaving]


def test_a_reload_takes_in_a_good_file_and_goes_on(scene: Scene, manager: Manager) -> None:
    ear = scene.listen()
    process = scene.node.start(environment=manager.environment)
    assert manager.next()[0] == "READY=1"
    before = ear.until(1)[-1].heartbeat

    scene.node.configure(node_text("app1", port=9090))
    process.ask_to_reload()

    assert manager.next()[0] == "RELOADING=1"
    assert manager.next()[0] == "READY=1"
    scene.until_said("is taken in")
    scene.lab.wait_until(
        lambda: ear.heard()[-1].heartbeat.services[0].port == 9090, 10, "the new port"
    )
    after = ear.heard()[-1].heartbeat
    assert after.boot == before.boot
    assert after.sequence == len(ear.heard())

    process.stop()
    assert manager.next() == ["STOPPING=1"]


def test_a_reload_of_a_bad_file_changes_nothing_and_says_why(scene: Scene) -> None:
    ear = scene.listen()
    process = scene.node.start()
    ear.until(1)

    scene.node.configure(node_text("app1", port=0))
    asked_ns = process.ask_to_reload()

    scene.until_said("services.app.port: must be 1..65535, is 0")
    scene.until_said("is refused, what it said before goes on")
    assert all(each.heartbeat.services[0].port == 8080 for each in ear.until(2, asked_ns))


def test_a_node_of_another_name_leaves_under_the_old_one(scene: Scene) -> None:
    """The name is bound to the key, so a reload with the old key is refused first."""
    ear = scene.listen()
    process = scene.node.start()
    ear.until(1)
    cluster_key = scene.lab.hosts["lb1"].directory / "cluster.key"

    scene.node.configure(node_text("app9"))
    process.ask_to_reload()
    scene.until_said("is the key of 'shop:app1', not of 'shop:app9'")
    renamed = Node(scene.node.host, node_text("app9"), cluster_key)
    asked_ns = process.ask_to_reload()
    scene.until_said(f"{renamed.configuration_file} is taken in")

    def arrived() -> bool:
        return any(each.heartbeat.name == "app9" for each in ear.heard(asked_ns))

    scene.lab.wait_until(arrived, 10, "the new name")
    old = [each.heartbeat for each in ear.heard(asked_ns) if each.heartbeat.name == "app1"]
    assert [each.leaving for each in old[-3:]] == [True] * 3


def test_a_path_waits_for_its_interface_and_says_so_once(scene: Scene) -> None:
    ear = scene.listen()
    host = scene.node.host
    for command in ("set eth0 down", "set eth0 name away0"):
        host.run("ip", "link", *command.split())
    process = scene.node.start()
    scene.until_said("eth0: no such interface, waiting for it")

    for command in ("set away0 name eth0", "set eth0 up"):
        host.run("ip", "link", *command.split())

    ear.until(2)
    assert process.log_text().count("waiting for it") == 1


def test_systemd_is_told_that_the_loop_turns_and_nothing_of_one_that_stands_still(
    scene: Scene, manager: Manager
) -> None:
    process = scene.node.start(environment=manager.environment)
    assert manager.next()[0] == "READY=1"
    heard = [manager.socket.recv(4096) for _ in range(4)]
    assert heard.count(b"WATCHDOG=1") >= 3

    process.freeze()

    manager.socket.settimeout(0.9)
    assert len([*manager.until_silent()]) < 4


def test_the_unit_grants_nothing_and_that_is_enough(scene: Scene) -> None:
    unit = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == ""
    ear = scene.listen()

    process = scene.node.start(*with_capabilities())

    ear.until(1)
    capabilities = Path(f"/proc/{process.pid}/status").read_text()
    assert re.findall(r"CapEff:\t(\w+)", capabilities) == ["0" * 16]
    assert "cannot" not in process.log_text()


def test_the_running_process_holds_no_library_of_the_file_and_shows_no_key(scene: Scene) -> None:
    process = scene.node.start()
    scene.until_said("sends heartbeats")

    mapped = Path(f"/proc/{process.pid}/maps").read_text()
    assert "psutil" in mapped
    assert not re.findall("pydantic|_yaml|cygrpc|_asyncio", mapped)
    key = scene.node.key_file.read_text().rpartition(":")[2].strip().encode()
    secret = read_node_key(scene.node.key_file, "shop", "app1").hex().encode()
    for shown in ("cmdline", "environ"):
        content = Path(f"/proc/{process.pid}/{shown}").read_bytes()
        assert key not in content
        assert secret not in content
    assert not list_of_open_files(process, "memfd")


def is_step(before: Heard, after: Heard) -> bool:
    old, new = before.heartbeat.load, after.heartbeat.load
    return (
        abs(old.cpu_permille - new.cpu_permille) >= LOAD_STEP_PERMILLE
        or abs(old.memory_permille - new.memory_permille) >= LOAD_STEP_PERMILLE
    )


def list_of_open_files(process: Process, word: str) -> list[str]:
    """The open files of ``process`` with ``word`` in their names."""
    links = (each.readlink() for each in Path(f"/proc/{process.pid}/fd").iterdir())
    return [str(name) for name in links if word in name.name]
