"""Setting a process up for MLX: what its children inherit, and what transformers knows then."""

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

SAME = """
from functools import lru_cache
from pathlib import Path
from services.runtime.model import prepare
prepare()
import transformers
from transformers.utils import import_utils as scanner
models = Path(transformers.__file__).parent / "models"
quick = scanner.define_import_structure(models, prefix="quick")
scanner.fetch__all__ = scanner.fetch__all__.__wrapped__
whole = scanner.create_import_structure_from_path.__wrapped__
scanner.create_import_structure_from_path = lru_cache(whole)
slow = scanner.define_import_structure(models, prefix="slow")
named = [{k: {n.split(".", 1)[1]: v for n, v in s.items()} for k, s in t.items()}
         for t in (quick, slow)]
assert named[0] == named[1] and len(named[0]) > 5, "the quick scan finds other names"
"""


@pytest.mark.parametrize("value", [None, "0", "1"])
def test_the_hub_is_off_in_this_process_alone(value: str | None) -> None:
    environment = {k: v for k, v in os.environ.items() if "_OFFLINE" not in k}
    environment |= {} if value is None else {"HF_HUB_OFFLINE": value}
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, env=environment)


def test_transformers_knows_the_same_names_when_it_is_imported_quickly() -> None:
    subprocess.run([sys.executable, "-c", SAME], check=True)
