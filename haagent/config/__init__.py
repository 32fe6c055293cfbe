"""The operator's YAML file, checked whole, as settings of the core; and the keys.

:func:`load` raises one :class:`ConfigurationError` that names every problem of the file with
its line and column.  Nothing here runs as root, opens a socket or looks at a peer.

What this package does not do: keep a file in force, or reload one (``haagent.runtime``).
"""

from haagent.config.key import KeyFileError, new_key, new_node_key, read_key, read_node_key
from haagent.config.load import Loaded, load
from haagent.config.node_load import LoadedNode, is_of_a_node, load_node
from haagent.config.problems import ConfigurationError, Problem

__all__ = [
    "ConfigurationError",
    "KeyFileError",
    "Loaded",
    "LoadedNode",
    "Problem",
    "is_of_a_node",
    "load",
    "load_node",
    "new_key",
    "new_node_key",
    "read_key",
    "read_node_key",
]
