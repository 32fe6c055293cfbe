"""The kernel fence: a lease on each virtual address that the kernel enforces.

An address is silent unless :meth:`Fence.open` was called for it with an instant that lies
ahead.  So a dead, hung, stopped or paused agent loses its addresses by the kernel's hand, and
other addresses of the interface are never touched.  The guard stays when the agent dies, and
the next agent takes it over; :meth:`Fence.remove` takes it away.

The best of three levels is taken that kernel and privileges allow:

- ``bpf`` (``haagent.adapters.fence.bpf``): CAP_BPF and CAP_NET_ADMIN;
- ``nft`` (``haagent.adapters.fence.nft``): CAP_NET_ADMIN and CAP_NET_RAW;
- ``lifetime``: nothing is done here, the address itself was claimed with a lifetime.

What this module does not do: decide who may open, or until when (``haagent.core.ownership``),
or put the address on the interface (``haagent.adapters.netlink``).
"""

import asyncio
import errno
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TypeAlias

from haagent.adapters.fence.bpf import BpfGuard
from haagent.adapters.fence.nft import NftGuard
from haagent.core.settings import FenceLevel, IPAddress
from haagent.core.units import MonoNs

LOOK_S = 0.2
"""How often :meth:`Fence.run` looks whether the guard still stands."""


class _Lifetime:
    """Nothing to do: the kernel counts, see ``lifetime`` in ``haagent.adapters.netlink``."""

    level = FenceLevel.LIFETIME

    def __init__(self, addresses: Mapping[str, frozenset[IPAddress]]) -> None: ...

    def install(self) -> list[str]:
        return []

    def open(self, interface: str, address: IPAddress, until: MonoNs) -> None: ...

    def changed(self, addresses: Mapping[str, frozenset[IPAddress]]) -> "_Lifetime":
        return _Lifetime(addresses)

    def close(self, interface: str, address: IPAddress) -> None: ...

    def give(self, keep: Callable[[int], None]) -> None: ...

    def let_go(self) -> None: ...

    @staticmethod
    def remove() -> None: ...


_Guard: TypeAlias = BpfGuard | NftGuard | _Lifetime

_GUARDS: tuple[type[_Guard], ...] = (BpfGuard, NftGuard, _Lifetime)
"""The best first."""


class Fence:
    """See the module docstring.  Belongs to the network namespace that it is used in."""

    def __init__(
        self, addresses: Mapping[str, frozenset[IPAddress]], require: FenceLevel | None = None
    ) -> None:
        """``addresses``: the virtual addresses of each interface; nothing is installed yet.

        ``require``: the least level that will do.
        Raises: OSError when it cannot be had.
        """
        self._addresses = addresses
        self._require = require
        self.refused: tuple[str, ...] = ()
        """Why each better level could not be had, one sentence each."""
        self._guard = self._best()
        self._installed = False
        self._until: dict[tuple[str, IPAddress], MonoNs] = {}
        """Until when each address was let be heard."""

    @property
    def level(self) -> FenceLevel:
        """The level in force; the first :meth:`install` may find that only a lower one works."""
        return self._guard.level

    def install(self) -> list[str]:
        """Put the guard on every interface that exists, in place of what a dead agent left.

        It opens nothing.  Done again it mends what is missing and leaves the rest alone.
        Returns the interfaces where something was missing.
        Raises: OSError.
        """
        if self._installed:
            return self._guard.install()
        missing = self._install_best()
        self._installed = True
        # An earlier agent may have had another level; its guard would stay closed for ever.
        # Who may not take it away may not claim an address either.
        with suppress(PermissionError):
            _remove(kind for kind in _GUARDS if kind.level is not self.level)
        return missing

    def open(self, interface: str, address: IPAddress, until: MonoNs) -> None:
        """Let ``address`` be heard until the instant ``until``; renew it by calling again.

        ``until`` is counted from the evidence that allows it, never from now, so that a call
        that comes late opens nothing.
        Raises: OSError at level nft only.
        """
        self._guard.open(interface, address, until)
        self._until[interface, address] = until

    def close(self, interface: str, address: IPAddress) -> None:
        """Silence ``address``.  Raises: OSError at level nft only."""
        self._until.pop((interface, address), None)
        self._guard.close(interface, address)

    def opened(self, now: MonoNs) -> frozenset[tuple[str, IPAddress]]:
        """Return what may be heard at ``now``: interface and address."""
        return frozenset(place for place, until in self._until.items() if now < until)

    def give(self, keep: Callable[[int], None]) -> None:
        """Have somebody ``keep`` the descriptor that holds the fence open after our death.

        Every deadline still counts.  ``keep`` is called in another thread.
        Raises: what ``keep`` raises; OSError when this level cannot outlive its process.
        """
        self._guard.give(keep)

    def change(self, addresses: Mapping[str, frozenset[IPAddress]]) -> None:
        """Guard ``addresses`` from now on; what is guarded already is not touched.

        Raises: OSError; then everything is as before.
        """
        self._guard = self._guard.changed(addresses)
        self._addresses = addresses

    async def run(self, report: Callable[[str], None]) -> None:
        """Mend the guard wherever it is missing, and report that, until cancelled."""
        said = ""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                missing = await self._mend()
                news = f"fence put back on {', '.join(missing)}" if missing else ""
            except OSError as error:  # an interface that comes and goes, or somebody's rules
                news = f"fence could not be put back: {error.strerror}"
            if news and news != said:
                report(news)
            said = news

    async def _mend(self) -> list[str]:
        if self.level is FenceLevel.BPF:
            # Traffic control waits for the kernel's rtnetlink lock.
            return await asyncio.to_thread(self.install)
        return self.install()

    def remove(self) -> None:
        """Take away everything of ours in this network namespace, and close all descriptors.

        Any process may do it, also after the one that installed the guard has died.
        Raises: OSError.
        """
        self._guard.let_go()
        _remove(_GUARDS)

    def _best(self) -> _Guard:
        """Return the best guard that is not refused."""
        for kind in _GUARDS[len(self.refused) :]:
            try:
                return kind(self._addresses)
            except OSError as error:
                self._refuse(kind.level, error)
        raise AssertionError("nobody refuses a lifetime")

    def _install_best(self) -> list[str]:
        while True:
            try:
                return self._guard.install()
            except OSError as error:
                self._guard.let_go()
                self._refuse(self.level, error)
                self._guard = self._best()

    def _refuse(self, level: FenceLevel, error: OSError) -> None:
        hint = _NEEDS[level] if error.errno == errno.EPERM else ""
        reason = f"fence level {level.value} cannot be had: {error.strerror}{hint}"
        if level is self._require:
            raise OSError(error.errno, reason) from error
        self.refused += (reason,)


_NEEDS = {
    FenceLevel.BPF: " (needs CAP_BPF and CAP_NET_ADMIN)",
    FenceLevel.NFT: " (needs CAP_NET_ADMIN and CAP_NET_RAW)",
}


def _remove(kinds: Iterable[type[_Guard]]) -> None:
    for kind in kinds:
        try:
            kind.remove()
        except OSError as error:
            # Without the library or the kernel's part nothing can have been made.
            if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP):
                raise
