"""One context of libnftables, through ctypes: a ruleset as text in one transaction.

A context is one netlink socket, and so the owner of the tables that it makes with
``flags owner``: they go when the socket closes, however the process ends.

What this module does not do: build rules (``haagent.adapters.fence.ruleset``).

Source: libnftables(3).
"""

import ctypes
import errno
import os
from ctypes import c_bool, c_char_p, c_uint32, c_void_p
from functools import cache
from typing import NoReturn


class Nft:
    """See the module docstring."""

    def __init__(self) -> None:
        """Raises: OSError, ENOSYS when libnftables is not installed."""
        library = _library()
        self._context = library.nft_ctx_new(0)
        library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str, *, check: bool = False) -> None:
        """Do all ``commands`` in one transaction; with ``check`` let the kernel only try.

        Raises: OSError with nft's own first complaint.
        """
        library = _library()
        library.nft_ctx_set_dry_run(self._context, check)
        if library.nft_run_cmd_from_buffer(self._context, commands.encode()):
            _refuse(library.nft_ctx_get_error_buffer(self._context).decode())

    def close(self) -> None:
        """Give up what is owned; once more is fine."""
        if self._context:
            _library().nft_ctx_free(self._context)
            self._context = None


_CALLS: dict[str, tuple[type, ...]] = {
    "nft_ctx_new": (c_uint32,),
    "nft_ctx_free": (c_void_p,),
    "nft_ctx_buffer_error": (c_void_p,),
    "nft_ctx_get_error_buffer": (c_void_p,),
    "nft_ctx_set_dry_run": (c_void_p, c_bool),
    "nft_run_cmd_from_buffer": (c_void_p, c_char_p),
}


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise OSError(
            errno.ENOSYS, "libnftables.so.1 is not installed (Debian: libnftables1)"
        ) from error
    for name, arguments in _CALLS.items():
        getattr(library, name).argtypes = arguments
    library.nft_ctx_new.restype = c_void_p
    library.nft_ctx_get_error_buffer.restype = c_char_p
    return library


_TOLD_APART = (errno.EPERM, errno.ENOENT, errno.EOPNOTSUPP)


def _refuse(complaint: str) -> NoReturn:
    """nft says what is wrong in words only."""
    first = complaint.partition("\n")[0]
    text = first.removeprefix("Error: ").removeprefix("Could not process rule: ")
    number = next((n for n in _TOLD_APART if os.strerror(n) in text), errno.EINVAL)
    raise OSError(number, f"nftables: {text}")
