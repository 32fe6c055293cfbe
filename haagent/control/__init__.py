"""The control socket: a gRPC service that tells what an agent knows."""

import os

# Before gRPC is imported: its library would write lines of its own to stderr, among ours.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
