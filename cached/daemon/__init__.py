"""The composition root: configuration, wiring and signals of the daemon."""

import os

# grpc's core writes a line of its own to stderr for each handshake that fails: any stranger could fill the
# log. It reads this once, when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
