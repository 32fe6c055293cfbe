"""What this host is set to, as far as it matters to heartbeats and virtual addresses.

Each function looks at one part of the host, and raises nothing: what cannot be known is left out,
or told to ``undone`` where root could know it.

What this module does not do: judge (``host``).
"""

import ctypes
import ipaddress
import json
import socket
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from haagent.adapters.haproxy.exchange import exchange, explain
from haagent.core.settings import AgentSettings, IPAddress, IPInterface
from haagent.doctor.facts import Machine, Proxy
from haagent.wire.haproxy.tables import SHOW_PROCESS, read_process

_COMMAND_S = 5.0
_STA_UNSYNC = 0x40
_IPV4 = ("rp_filter", "arp_ignore", "arp_announce")


def look(settings: AgentSettings, undone: Callable[[str], None]) -> Machine:
    """Return what this host is set to."""
    interfaces = {path.interface for path in settings.heartbeat.paths}
    interfaces |= {group.interface for group in settings.groups}
    port = settings.heartbeat.port
    return Machine(
        addresses=addresses(),
        sysctls=_sysctls(interfaces),
        closed_chains=(*_nftables(port, undone), *_iptables(port, undone)),
        managers=managers(interfaces),
        synchronised=_synchronised(),
    )


def addresses() -> tuple[tuple[str, IPInterface], ...]:
    """Return every address of this host with its interface."""
    return tuple(_addresses())


def proxy(path: str, undone: Callable[[str], None]) -> Proxy:
    """Return what there is to know of the HAProxy whose socket is at ``path``."""
    try:
        answer = exchange(path, [SHOW_PROCESS])
        trouble = "" if read_process(*answer) else f"{path} does not answer as a HAProxy does"
    except OSError as error:
        trouble = explain(error, path)
    return Proxy(trouble=trouble, listens=_listens("haproxy", undone))


def closed_chains(ruleset: Any, port: int) -> Iterator[str]:
    """Yield each chain on input of ``nft -j list ruleset`` that drops and never names ``port``."""
    objects = [entry for entry in ruleset.get("nftables", []) if isinstance(entry, dict)]
    for entry in objects:
        chain = entry.get("chain", {})
        if chain.get("hook") != "input" or chain.get("policy") != "drop":
            continue
        place = chain.get("family"), chain.get("table")
        rules = [e["rule"] for e in objects if "rule" in e]
        # A chain that this one jumps to may have the rule: any of the table counts.
        beside = [rule for rule in rules if (rule.get("family"), rule.get("table")) == place]
        if not any(_names(rule.get("expr"), port) for rule in beside):
            yield f"chain {chain.get('name')} of nftables' table {' '.join(map(str, place))}"


def managers(
    interfaces: Iterable[str], run: Path = Path("/run"), index: Callable[[str], int] | None = None
) -> dict[str, str]:
    """Return who manages each of ``interfaces`` and would remove what is not his.

    Source: the state files of systemd-networkd and NetworkManager, by the index of an interface.
    """
    found = {}
    for interface in interfaces:
        with suppress(OSError):
            number = (index or socket.if_nametoindex)(interface)
            if _networkd_manages(run / f"systemd/netif/links/{number}"):
                found[interface] = "systemd-networkd"
            elif "managed=true" in _text(run / f"NetworkManager/devices/{number}").splitlines():
                found[interface] = "NetworkManager"
    return found


def _networkd_manages(state: Path) -> bool:
    told = dict(line.partition("=")[::2] for line in _text(state).splitlines())
    if told.get("ADMIN_STATE", "unmanaged") == "unmanaged":
        return False
    name = told.get("NETWORK_FILE", "")
    extra = told.get("NETWORK_FILE_DROPINS", "")
    files = [name, *extra.strip('"').split()]
    kept = [_kept(_text(Path(file))) for file in files if file]
    return next((word for word in reversed(kept) if word), "") not in {"yes", "true", "1", "on"}


def _kept(text: str) -> str:
    """Return the last KeepConfiguration of a .network file, lower case; empty without one."""
    words = ""
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "KeepConfiguration":
            words = value.strip().lower()
    return words


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _addresses() -> Iterator[tuple[str, IPInterface]]:
    for name, entries in psutil.net_if_addrs().items():
        for entry in entries:
            if entry.family not in {socket.AF_INET, socket.AF_INET6}:
                continue
            plain = entry.address.partition("%")[0]
            # psutil spells masks out, those of IPv6 too.
            mask = "" if entry.netmask is None else f"/{_length(entry.netmask)}"
            yield name, ipaddress.ip_interface(plain + mask)


def _length(netmask: str) -> int:
    return int(ipaddress.ip_address(netmask)).bit_count()


def _sysctls(interfaces: Collection[str]) -> dict[str, str]:
    names: list[tuple[str, ...]] = [
        ("net", "ipv4", "ip_nonlocal_bind"),
        ("net", "ipv6", "ip_nonlocal_bind"),
    ]
    for interface in (*interfaces, "all"):
        names += [("net", "ipv4", "conf", interface, each) for each in _IPV4]
        names += [("net", "ipv6", "conf", interface, "disable_ipv6")]
    values = {".".join(name): _text(Path("/proc/sys", *name)).strip() for name in names}
    return {name: value for name, value in values.items() if value}


def _synchronised() -> bool | None:
    """Return whether the kernel takes its clock for right.  Source: adjtimex(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    # struct timex: modes, then 8 bytes each of offset, frequency, errors, and status.
    state = (ctypes.c_long * 32)()
    if libc.adjtimex(ctypes.byref(state)) < 0:
        return None
    status = ctypes.c_int.from_buffer(state, 5 * ctypes.sizeof(ctypes.c_long)).value
    return not status & _STA_UNSYNC


def _nftables(port: int, undone: Callable[[str], None]) -> list[str]:
    listed = _run(["nft", "-j", "list", "ruleset"], "the rules of nftables", undone)
    try:
        return list(closed_chains(json.loads(listed or "{}"), port))
    except (ValueError, AttributeError, TypeError):
        return []


def _iptables(port: int, undone: Callable[[str], None]) -> Iterator[str]:
    """Yield the closed chains of the older firewall, which nft does not list."""
    for names, command in (("ip_tables_names", "iptables"), ("ip6_tables_names", "ip6tables")):
        if "filter" not in _text(Path("/proc/net") / names).split():
            continue
        listed = _run([f"{command}-legacy-save", "-t", "filter"], f"the rules of {command}", undone)
        if ":INPUT DROP" in listed and f" {port}" not in listed:
            yield f"chain INPUT of {command}"


def _run(command: list[str], what: str, undone: Callable[[str], None]) -> str:
    """Return what ``command`` prints; empty where there is no such program."""
    with suppress(FileNotFoundError):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_COMMAND_S
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            undone(f"{what} could not be read: {error}")
            return ""
        if done.returncode == 0:
            return done.stdout
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[0]
        undone(f"{what} could not be read: {reason}")
    return ""


def _names(value: Any, port: int) -> bool:
    """Return whether ``port`` stands anywhere in the JSON of a rule, alone or in a range."""
    match value:
        case dict():
            low_high = value.get("range")
            if isinstance(low_high, list) and all(isinstance(end, int) for end in low_high):
                return bool(low_high[0] <= port <= low_high[-1])
            return any(_names(each, port) for each in value.values())
        case list():
            return any(_names(each, port) for each in value)
        case _:
            return bool(value == port)


def _listens(program: str, undone: Callable[[str], None]) -> frozenset[IPAddress] | None:
    """Return where processes called ``program`` listen; None when that cannot be told."""
    found, nameless = set(), False
    for connection in psutil.net_connections("tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr:
            continue
        if connection.pid is None:
            nameless = True
            continue
        with suppress(psutil.Error):
            if psutil.Process(connection.pid).name() == program:
                found.add(ipaddress.ip_address(connection.laddr.ip))
    if not found and nameless:
        undone(f"where {program} listens cannot be told: processes of others listen here too")
        return None
    return frozenset(found)
