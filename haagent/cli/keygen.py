"""``haagent keygen``: a cluster key, or what follows from it; only its owner may read the files."""

import os
import sys
from pathlib import Path

from haagent.bus.certificates import certificates
from haagent.cli.configuration import read
from haagent.config import KeyFileError, new_key, new_node_key, read_key
from haagent.config.values import name
from haagent.wire.auth import derive_bus_seed


def keygen(file: Path) -> None:
    """Write a new cluster key to ``file``, which must not exist yet; to stdout when it is ``-``."""
    _write(file, new_key())


def keygen_of_node(
    file: Path, node: str, *, cluster: str | None, cluster_key: Path | None, config: Path | None
) -> None:
    """Write the key of the app node called ``node``, which follows from the cluster key.

    Cluster and key file are named, or are those of the agent's file ``config``.
    """
    key, cluster = _source("--node", node, cluster, cluster_key, config)
    _write(file, new_node_key(key, cluster, node))


def keygen_of_agent(
    directory: Path,
    node: str,
    *,
    cluster: str | None,
    cluster_key: Path | None,
    config: Path | None,
) -> None:
    """Write what the agent called ``node`` needs on the peer bus: authority, certificate and key.

    Agents make their own; these are for other tools that are to speak to them.
    """
    key, cluster = _source("--agent", node, cluster, cluster_key, config)
    made = certificates(derive_bus_seed(key, cluster), cluster, node)
    contents = {
        directory / "ca.pem": made["authority"],
        directory / "cert.pem": made["certificate"],
        directory / "key.pem": made["key"],
    }
    if present := next((file for file in contents if file.exists()), None):
        sys.exit(f"{present}: exists, and is not overwritten")
    for file, content in contents.items():
        _write(file, content)


def _source(
    option: str, node: str, cluster: str | None, cluster_key: Path | None, config: Path | None
) -> tuple[bytes, str]:
    """Return the cluster key and the cluster that something of ``node`` is to follow from."""
    if config:
        settings = read(config)
        cluster, cluster_key = settings.settings.cluster, settings.key_file
    assert cluster is not None
    assert cluster_key is not None
    for each, given in ((option, node), ("--cluster", cluster)):
        _check_name(each, given)
    try:
        return read_key(cluster_key), cluster
    except KeyFileError as error:
        print(f"haagent: {error}", file=sys.stderr)
        sys.exit(2)


def _check_name(option: str, given: str) -> None:
    try:
        name(given)
    except ValueError as error:
        print(f"haagent: {option} {error}, is {given!r}", file=sys.stderr)
        sys.exit(2)


def _write(file: Path, content: str) -> None:
    if str(file) == "-":
        sys.stdout.write(content)
        return
    try:
        create(file, content.encode())
    except FileExistsError:
        sys.exit(f"{file}: exists; a key that agents may be using is never overwritten")
    except OSError as error:
        sys.exit(f"{file}: cannot be written: {error.strerror}")


def create(file: Path, content: bytes) -> None:
    """Create ``file`` whole or not at all, readable by its owner alone from the first moment.

    Raises: OSError; FileExistsError when it is there already.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
    except OSError:
        file.unlink()
        raise
