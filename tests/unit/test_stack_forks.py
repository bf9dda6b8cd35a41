"""Processes are started beside gRPC's threads, whose fork handlers can hang or end the child."""

import subprocess
import sys

# A process that calls by gRPC all the time, and starts others meanwhile as the stack does.
_BUSY = """
import mlx_hub.cli.main
import os, subprocess, threading, time
from concurrent.futures import ThreadPoolExecutor
import grpc

server = grpc.server(ThreadPoolExecutor(2))
port = server.add_insecure_port("127.0.0.1:0")
server.start()

def call():
    while True:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                channel.unary_unary("/x/y")(b"", timeout=1)
            except grpc.RpcError:
                pass

for _ in range(3):
    threading.Thread(target=call, daemon=True).start()
until = time.monotonic() + 2
while time.monotonic() < until:
    subprocess.run(["true"], preexec_fn=lambda: None, check=True)
os._exit(0)
"""


def test_a_command_starts_processes_while_it_calls_by_grpc() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BUSY],
        capture_output=True,
        text=True,
        timeout=20,
        env={},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
