"""The `mlx-hub` command line."""

import os

# Before gRPC is imported, which reads it once: a verb may start processes while gRPC's threads
# run, and its fork handlers hang then, or end the child.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
