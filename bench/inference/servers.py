"""The peers' servers, each in a process of its own; this module is also what runs there.

python -m bench.inference.servers mlx-lm|llama.cpp MODEL PORT
"""

import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.inference.sides import OpenAi
from services.stack.ports import free_port

SLOTS, SLOT_TOKENS = 9, 2560


@contextlib.contextmanager
def mlx_lm_server(folder: Path, *, stock: bool) -> Iterator[OpenAi]:
    """Run mlx_lm.server: prepared as our engine is, or as its users start it."""
    module = ["mlx_lm", "server", "--model"] if stock else ["bench.inference.servers", "mlx-lm"]
    with _serving(module, str(folder)) as side:
        yield side


def has_llama() -> bool:
    """Tell whether llama.cpp is installed."""
    return importlib.util.find_spec("xllamacpp") is not None


@contextlib.contextmanager
def llama_server(gguf: Path) -> Iterator[OpenAi]:
    """Run llama.cpp's own server with continuous batching."""
    with _serving(["bench.inference.servers", "llama.cpp"], str(gguf)) as side:
        yield side


@contextlib.contextmanager
def _serving(module: list[str], model: str) -> Iterator[OpenAi]:
    port = free_port(set())
    command = [sys.executable, "-m", *module, model]
    command += ["--port", str(port)] if module[0] == "mlx_lm" else [str(port)]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    process = subprocess.Popen(
        command, env={**os.environ, **offline},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait(process, port)
        side = OpenAi(port)
        side.ask("Warm up.", 4)
        yield side
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    pause = threading.Event()
    for _ in range(1200):
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
            return
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        pause.wait(0.1)
    raise SystemExit(f"{process.args!r} did not come up")


def _run_mlx_lm(model: str, port: str) -> None:
    from services.runtime.model import prepare  # noqa: PLC0415

    prepare()
    from mlx_lm import server  # noqa: PLC0415  after prepare

    sys.argv = ["mlx_lm.server", "--model", model, "--port", port]
    server.main()  # type: ignore[no-untyped-call]


def _run_llama(model: str, port: str) -> None:
    import xllamacpp  # noqa: PLC0415  optional

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.port = int(port)
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * SLOT_TOKENS
    params.cont_batching = True
    server = xllamacpp.Server(params)
    assert server.listening_address
    threading.Event().wait()


if __name__ == "__main__":
    {"mlx-lm": _run_mlx_lm, "llama.cpp": _run_llama}[sys.argv[1]](*sys.argv[2:])
