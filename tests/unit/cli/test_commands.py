"""The commands as a shell sees them: output, exit code, and no traceback for what users do."""

import os
import re
import signal
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from haagent.config import new_node_key, read_key
from haagent.config.password import is_password
from haagent.lab.agents import with_capabilities

CONF = Path(__file__).parents[3] / "conf"


UNPRIVILEGED = with_capabilities() if os.geteuid() == 0 else ()


def haagent(
    *arguments: str | Path, through: tuple[str, ...] = UNPRIVILEGED, stdin: str | None = None
) -> "subprocess.CompletedProcess[str]":
    command = [*through, sys.executable, "-m", "haagent", *map(str, arguments)]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, timeout=60
    )


def start(*arguments: str | Path, stdout: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "haagent", *map(str, arguments)]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yml")), ids=lambda path: path.name)
def test_check_says_ok_of_every_example(file: Path) -> None:
    done = haagent("check", file)

    assert done.returncode == 0
    assert done.stdout.startswith("OK\n")
    assert all(line.startswith("warning: ") for line in done.stderr.splitlines())


def test_check_shows_what_follows_from_a_file() -> None:
    """The whole output: an operator reads it, so a change to it is read here."""
    assert (
        haagent("check", "--config", CONF / "pair-lb1.yml").stdout
        == """\
OK

node         lb1 of cluster shop
path         eth0, multicast 224.0.0.254, UDP port 6940
group        web: 192.0.2.100/32 on eth0, priority 150
             a better agent takes over from a healthy master: after 5s
haproxy      /run/haproxy/admin.sock
             backend app: app1, app2
fence        bpf or else nft or else lifetime; 'haagent status' shows which is in force
heartbeat    every 200ms as master, every 1s as backup
detection    profile lan: who is late is asked at once, five times
             280ms after a host dies on average, 400ms at most while heartbeats are punctual
             650ms after an agent hangs whose kernel answers; 20ms more for each better backup
election     waits up to 30ms for answers
start        listens 1s before any claim
stall        an agent that stood still for 650ms first releases all

guaranteed:
  - agents that hear each other settle on exactly one master for each group
  - a planned handover releases the addresses before another agent claims them
  - at fence levels bpf and nft the addresses of an agent that is killed fall silent at once, of
    one that hangs or is stopped 600ms after its last heartbeat, before a peer takes over

not covered:
  - whatever fails on this server but the agent, HAProxy too, moves no address of web, for which
    there are no checks
  - all paths use one network card: while agents there cannot hear each other, each side has a
    master of its own
  - at fence level lifetime the addresses of a dead or hung agent stay for up to 2.4 s, so that
    two servers may answer for them
  - at fence level nft who flushes all nftables rules opens the fence for a moment
"""
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to have the privileges of an agent")
@pytest.mark.parametrize(
    ("held", "here", "promised"),
    [
        (("net_admin", "net_raw", "bpf"), "bpf", {"bpf"}),
        (("net_admin", "net_raw"), "nft", {"nft"}),
        (("net_admin",), "lifetime", {"lifetime"}),
    ],
)
def test_who_may_change_addresses_is_told_the_level_and_why_no_better_one(
    held: tuple[str, ...], here: str, promised: set[str]
) -> None:
    done = haagent("check", CONF / "pair-lb1.yml", through=with_capabilities(*held))

    assert done.returncode == 0, done.stderr
    assert f"             here, and with these privileges: {here}\n" in done.stdout
    better = ["bpf", "nft", "lifetime"][: ["bpf", "nft", "lifetime"].index(here)]
    for level in better:
        assert f"             fence level {level} cannot be had: Operation not perm" in done.stdout
    assert set(re.findall(r"  - at fence level (\w+) ", done.stdout)) == promised


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to have the privileges of an agent")
def test_check_says_when_the_required_level_cannot_be_had_here(tmp_path: Path) -> None:
    file = tmp_path / "haagent.yml"
    file.write_text((CONF / "pair-lb1.yml").read_text() + "fence: {require: bpf}\n")

    done = haagent("check", file, through=with_capabilities("net_admin", "net_raw"))

    assert done.returncode == 0
    assert "fence        bpf, or the agent does not start; 'haagent status' shows" in done.stdout
    assert "here the agent would not start: fence level bpf cannot be had: Oper" in done.stdout


def test_check_says_what_follows_from_a_check_and_when(tmp_path: Path) -> None:
    checks = "{gateway: {ping: 192.0.2.1, fall: 3, on_fail: demote}, up: {tcp: '127.0.0.1:80'}}"
    file = tmp_path / "haagent.yml"
    text = (CONF / "pair-lb1.yml").read_text()
    file.write_text(text.replace("    priority:", f"    checks: {checks}\n    priority:", 1))

    said = haagent("check", file).stdout

    assert (
        """\
             check gateway: ping 192.0.2.1
               the agent ranks below every one that is better off, 3500ms after it fails at most
             check up: tcp 127.0.0.1:80
               the agent gives the group up, 2500ms after it fails at most
"""
        in said
    )
    assert "there are no checks" not in said


def test_check_promises_more_for_paths_on_two_cards() -> None:
    said = haagent("check", CONF / "active-active-lb1.yml").stdout

    assert "no agent is taken for dead because one path to it failed" in said
    assert "all paths use one network card" not in said


def test_check_says_what_runs_and_who_is_told(tmp_path: Path) -> None:
    hooks = "{master: /bin/true, any: /bin/true, before_claim: {command: [/bin/x], timeout: 3s}}"
    text = (CONF / "pair-lb1.yml").read_text()
    text = text.replace("    addresses:", f"    hooks: {hooks}\n    addresses:")
    file = tmp_path / "haagent.yml"
    file.write_text(f"{text}notifications: [{{urls_file: urls, kinds: ['peer.*', link.down]}}]\n")

    said = " ".join(haagent("check", file).stdout.split())

    for expected in (
        (
            "hooks: master, any before_claim: a new master waits for it, 3s at most; if it fails "
            "the agent claims all the same"
        ),
        f"notify {tmp_path}/urls: peer.*, link.down from warning on, at most 10 messages in 1m",
        "nobody has the addresses of web while before_claim runs: up to 3s at each takeover",
    ):
        assert expected in said


def test_check_says_where_metrics_are_and_who_may_read_them() -> None:
    said = " ".join(haagent("check", CONF / "haagent.yml").stdout.split())

    assert "http http://127.0.0.1:6942/metrics, readable by whoever reaches it" in said
    assert "/metrics" not in haagent("check", CONF / "pair-lb1.yml").stdout


def test_check_does_not_count_vlans_of_one_card_as_two(tmp_path: Path) -> None:
    text = (CONF / "active-active-lb1.yml").read_text().replace("eth1", "eth0.7")
    file = tmp_path / "haagent.yml"
    file.write_text(text)

    assert "all paths use one network card" in haagent("check", file).stdout


def test_check_says_how_the_dead_are_found_out_and_who_vouches_for_the_link(
    tmp_path: Path,
) -> None:
    file = tmp_path / "haagent.yml"
    text = (CONF / "pair-lb1.yml").read_text()
    path = "    - interface: eth0\n"
    referred = f"  profile: compat\n  paths:\n{path}      reference: 192.0.2.1\n"
    file.write_text(text.replace(f"  paths:\n{path}", referred))

    said = haagent("check", file).stdout

    assert "             reference 192.0.2.1\n" in said
    assert "heartbeat    every 1s as master, every 5s as backup\n" in said
    assert "detection    profile compat: who is late is asked at once, five times\n" in said
    assert "             1400ms after a host dies on average, 2000ms at most while" in said
    assert "             3250ms after an agent hangs whose kernel answers; 20ms more" in said


def test_check_says_that_profile_fixed_goes_by_silence_alone(tmp_path: Path) -> None:
    file = tmp_path / "haagent.yml"
    text = (CONF / "pair-lb1.yml").read_text()
    file.write_text(text.replace("  paths:\n", "  profile: fixed\n  paths:\n"))

    said = haagent("check", file).stdout

    assert "detection    profile fixed: by silence alone, as in VRRP\n" in said
    assert "             450ms to 650ms after the master dies, 20ms more for each" in said


def test_check_names_all_problems_on_stderr_and_exits_with_2(tmp_path: Path) -> None:
    file = tmp_path / "haagent.yml"
    text = (CONF / "pair-lb1.yml").read_text()
    file.write_text(text.replace("priority: 150", "priority: 300").replace("eth0", "eth/0"))

    done = haagent("check", file)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        (
            f"{file}:10:18: heartbeat.paths[0].interface: must be an interface: 1..15 characters "
            "without space, '/' or ':', is 'eth/0'"
        ),
        f"{file}:14:15: groups.web.priority: must be 1..254, is 300",
        (
            f"{file}:15:16: groups.web.interface: must be an interface: 1..15 characters "
            "without space, '/' or ':', is 'eth/0'"
        ),
    ]


def test_check_refuses_two_files() -> None:
    done = haagent("check", "a.yml", "--config", "b.yml")

    assert done.returncode == 2
    assert "name the file once" in done.stderr


def test_keygen_makes_a_file_that_only_its_owner_may_read(tmp_path: Path) -> None:
    file = tmp_path / "cluster.key"

    done = haagent("keygen", file)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(read_key(file)) == 32


def test_keygen_never_overwrites_a_key(tmp_path: Path) -> None:
    file = tmp_path / "cluster.key"
    file.write_text("precious")

    done = haagent("keygen", file)

    assert done.returncode == 1
    assert done.stderr == f"{file}: exists; a key that agents may be using is never overwritten\n"
    assert file.read_text() == "precious"


def test_password_makes_a_file_that_only_its_owner_may_read_and_no_second_one(
    tmp_path: Path,
) -> None:
    file = tmp_path / "http.password"

    done = haagent("password", file, stdin="correct horse battery\n")
    again = haagent("password", file, stdin="another password\n")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert again.returncode == 1
    assert again.stderr.startswith(f"{file}: exists; remove it first")
    assert is_password(file, "correct horse battery")


def test_password_refuses_what_is_too_short(tmp_path: Path) -> None:
    done = haagent("password", tmp_path / "http.password", stdin="secret\n")

    assert done.returncode == 2
    assert done.stderr == "haagent: a password has 8 characters or more, and 1024 bytes at most\n"
    assert not [*tmp_path.iterdir()]


def test_keygen_says_why_it_cannot_write(tmp_path: Path) -> None:
    file = tmp_path / "none" / "cluster.key"

    done = haagent("keygen", file)

    assert done.returncode == 1
    assert done.stderr == f"{file}: cannot be written: No such file or directory\n"


@pytest.fixture
def cluster_key(tmp_path: Path) -> Path:
    file = tmp_path / "cluster.key"
    assert haagent("keygen", file).returncode == 0
    return file


def node_keygen(cluster_key: Path, *more: str | Path) -> "subprocess.CompletedProcess[str]":
    options = ("--node", "app1", "--cluster", "shop", "--from", cluster_key)
    return haagent("keygen", *options, *more)


def test_keygen_makes_the_key_of_a_node_from_the_cluster_key(
    tmp_path: Path, cluster_key: Path
) -> None:
    file = tmp_path / "app1.key"

    done = node_keygen(cluster_key, file)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == new_node_key(read_key(cluster_key), "shop", "app1")
    assert node_keygen(cluster_key, file).stderr.endswith("is never overwritten\n")


def test_keygen_takes_cluster_and_key_from_the_file_of_an_agent(
    tmp_path: Path, cluster_key: Path
) -> None:
    config = tmp_path / "haagent.yml"
    config.write_text((CONF / "pair-lb1.yml").read_text().replace("/etc/haagent/", ""))

    done = haagent("keygen", "--node", "app1", "--config", config)

    assert done.stdout == node_keygen(cluster_key).stdout


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--node", "app1"), "either --cluster and --from, or --config"),
        (("--node", "app1", "--cluster", "shop"), "either --cluster and --from, or --config"),
        (("--cluster", "shop"), "only what --node and --agent make"),
        (("--agent", "lb1"), "either --cluster and --from, or --config"),
        (("--agent", "lb1", "--node", "a", "--config", "x"), "--node or --agent takes either"),
        (("--agent", "lb1", "--cluster", "shop", "--from", "x"), "takes a directory"),
        (("/", "--agent", "", "--cluster", "shop", "--from", "x"), "--agent must be 1..63"),
        (("/", "--agent", "a b", "--cluster", "shop", "--from", "x"), "--agent must be 1..63"),
        (("/", "--agent", "lb1", "--cluster", "shop", "--from", "none.key"), "does not exist"),
        (("--node", "a b", "--cluster", "shop", "--from", "cluster.key"), "--node must be 1..63"),
        (("--node", "app1", "--cluster", "", "--from", "cluster.key"), "either --cluster"),
        (("--node", "app1", "--cluster", "shop", "--from", "none.key"), "does not exist"),
    ],
)
def test_keygen_of_a_node_says_what_it_lacks(options: tuple[str, ...], reason: str) -> None:
    done = haagent("keygen", *options)

    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr


def test_keygen_makes_certificates_that_standard_tools_take(
    tmp_path: Path, cluster_key: Path
) -> None:
    options = ("--agent", "lb1", "--cluster", "shop", "--from", cluster_key)

    done = haagent("keygen", tmp_path, *options)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    files = [tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    context = ssl.create_default_context(cafile=files[0])
    context.load_cert_chain(files[1], files[2])
    assert context.get_ca_certs()[0]["subject"] == ((("organizationName", "shop"),),)

    again = haagent("keygen", tmp_path, *options)

    assert again.returncode == 1
    assert again.stderr == f"{files[0]}: exists, and is not overwritten\n"


def test_the_key_of_a_node_makes_no_other(tmp_path: Path, cluster_key: Path) -> None:
    file = tmp_path / "app1.key"
    node_keygen(cluster_key, file)

    done = node_keygen(file)

    assert (done.returncode, done.stdout) == (2, "")
    assert "is the key of an app node" in done.stderr


def test_check_shows_what_follows_from_the_file_of_a_node() -> None:
    assert (
        haagent("check", CONF / "node.yml").stdout
        == """\
OK

node         app1 of cluster shop, class default
path         eth0, multicast 224.0.0.254, UDP port 6941
path         eth1, unicast to 198.51.100.11, 198.51.100.12, UDP port 6941
service      app: port 8080 of 192.0.2.21, weight 100
             http://127.0.0.1:8080/health every 2s, 1s at most
             unhealthy after 2 failures, 5s at most; healthy again after 2 that pass
service      mail: port 25 of 192.0.2.21, weight 100
             tcp 127.0.0.1:25 every 2s, 1s at most
             unhealthy after 2 failures, 5s at most; healthy again after 2 that pass
service      batch: port 9000 of 192.0.2.21, weight 100
             exec /usr/local/bin/batch-is-well --quiet every 10s, 5s at most
             unhealthy after 2 failures, 25s at most; healthy again after 2 that pass
heartbeat    every 1s, until an agent dictates another pace
"""
    )


def test_a_node_with_the_cluster_key_or_a_bad_file_does_not_start(
    tmp_path: Path, cluster_key: Path
) -> None:
    config = tmp_path / "node.yml"
    text = (CONF / "node.yml").read_text()
    config.write_text(text.replace("/etc/haagent/node.key", "cluster.key"))

    done = haagent("node", "--config", config)
    assert done.returncode == 2
    assert "is a cluster key, which belongs on the agents alone" in done.stderr

    config.write_text(text.replace("weight: 100", "weight: 300"))
    done = haagent("node", "--config", config)
    assert done.returncode == 2
    assert "services.app.weight: must be 0..256, is 300" in done.stderr


def test_the_second_half_of_a_node_is_not_for_operators() -> None:
    command = [sys.executable, "-m", "haagent.node"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 1
    assert "'haagent node -c FILE'" in done.stderr


@pytest.mark.parametrize("arguments", [("keygen",), ("keygen", "-")])
def test_keygen_prints_the_key_where_no_file_is_named(arguments: tuple[str, ...]) -> None:
    done = haagent(*arguments)

    assert done.returncode == 0
    assert done.stdout.startswith("haagent-key-1:")
    assert len(done.stdout.splitlines()) == 1


def test_version_is_one_line() -> None:
    done = haagent("version")

    assert done.returncode == 0
    assert done.stdout.startswith("haagent 0.1.0 (Python 3.")


@pytest.mark.parametrize("arguments", [("frobnicate",), ("check", "--frobnicate")])
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    done = haagent(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    child = start("check", CONF / "pair-lb1.yml", stdout=writing)
    os.close(writing)

    _, said = child.communicate(timeout=60)

    assert child.returncode == 1
    assert all(line.startswith("warning: ") for line in said.splitlines())


def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        child = start("version", stdout=full.fileno())
        _, said = child.communicate(timeout=60)

    assert child.returncode == 1
    assert said == "haagent: [Errno 28] No space left on device\n"


def test_an_interrupt_is_no_traceback(tmp_path: Path) -> None:
    """The command is caught where it waits for a writer to the file, a named pipe."""
    pipe = tmp_path / "pipe.yml"
    os.mkfifo(pipe)
    child = start("check", pipe, stdout=subprocess.PIPE)
    with pipe.open("w"):  # opens only once the command has opened its end
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)

    assert child.returncode == 130
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("command", "unwanted"),
    [
        ("version", {"yaml", "grpc", "pyroute2", "rich", "asyncio", "haagent.config"}),
        ("keygen", {"grpc", "pyroute2", "rich", "asyncio"}),
        ("check", {"grpc", "pyroute2", "rich", "asyncio", "haagent.sim"}),
        ("node", {"grpc", "pyroute2", "rich", "asyncio", "haagent.runtime"}),
        ("simulate", {"grpc", "pyroute2", "rich", "asyncio"}),
    ],
)
def test_a_command_imports_nothing_that_it_does_not_use(command: str, unwanted: set[str]) -> None:
    program = (
        "import atexit, sys; from haagent.cli.main import main;"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
    )
    arguments = [sys.executable, "-c", program, command]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)

    modules = set(done.stderr.splitlines()[-1].split())
    assert f"haagent.cli.{command}" in modules
    assert unwanted.isdisjoint(modules)


@pytest.mark.parametrize(
    "command",
    [["reload"], ["drain"], ["undrain"], ["pause"], ["resume"], ["failover", "web"]],
    ids=lambda words: words[0],
)
def test_what_takes_an_agent_ends_with_3_where_there_is_none(
    command: list[str], tmp_path: Path
) -> None:
    done = haagent(*command, "--socket", tmp_path / "control.sock")

    assert (done.returncode, done.stdout) == (3, "")
    assert "no agent answers" in done.stderr
