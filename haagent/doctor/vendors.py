"""Whose a MAC address is: by the list of the IEEE where the host has it, else by a short one.

The short one has those that a virtual address meets most often in the wrong hands: hypervisors,
containers, and the routers of VRRP and its kin.
"""

from contextlib import suppress
from functools import lru_cache
from pathlib import Path

LISTS = (Path("/usr/share/ieee-data/oui.txt"), Path("/var/lib/ieee-data/oui.txt"))
"""Of Debian's package ``ieee-data``."""

_VIRTUAL = {
    "00:00:5e:00:01": "VRRP over IPv4: keepalived or a router",
    "00:00:5e:00:02": "VRRP over IPv6: keepalived or a router",
    "00:00:0c:07:ac": "HSRP: a Cisco router",
    "00:00:0c:9f:f": "HSRP: a Cisco router",
    "00:07:b4": "GLBP: a Cisco router",
}
_SHORT = {
    "00:05:69": "VMware",
    "00:0c:29": "VMware",
    "00:1c:14": "VMware",
    "00:50:56": "VMware",
    "00:15:5d": "Microsoft Hyper-V",
    "00:16:3e": "Xen",
    "00:1c:42": "Parallels",
    "08:00:27": "VirtualBox",
    "52:54:00": "QEMU or KVM",
    "bc:24:11": "Proxmox",
    "02:42:ac": "Docker",
}


def vendor(mac: str, lists: tuple[Path, ...] = LISTS) -> str:
    """Return who ``mac`` (lower case, colons) belongs to, in brackets' words; empty if unknown."""
    for prefix, name in (*_VIRTUAL.items(), *_SHORT.items()):
        if mac.startswith(prefix):
            return name
    if int(mac[:2], 16) & 2:
        return "made up by its host: virtual machine, container or bond"
    return _registered(mac[:8].replace(":", "-").upper(), lists)


@lru_cache(maxsize=64)
def _registered(prefix: str, lists: tuple[Path, ...]) -> str:
    for path in lists:
        with suppress(OSError), path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith(prefix):
                    return line.rpartition("\t")[2].strip()
    return ""
