"""Setting a process up for MLX changes nothing that its children would inherit."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os
before = {name: os.environ.get(name) for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
from services.runtime.model import prepare
prepare()
from huggingface_hub import constants, is_offline_mode
assert constants.HF_HUB_OFFLINE and is_offline_mode()
assert {name: os.environ.get(name) for name in before} == before, os.environ
"""


@pytest.mark.parametrize("value", [None, "0", "1"])
def test_the_hub_is_off_in_this_process_alone(value: str | None) -> None:
    environment = {k: v for k, v in os.environ.items() if "_OFFLINE" not in k}
    environment |= {} if value is None else {"HF_HUB_OFFLINE": value}
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, env=environment)
