"""A base model as the engine computes on it here, as a folder that mlx-lm loads.

python -m bench.inference.dense FOLDER TARGET
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from services.runtime.model import load_base, on_cpu


def main(folder: Path, target: Path) -> None:
    """Write dense float32 weights on a CPU; elsewhere copy what is there."""
    if not on_cpu():
        shutil.copytree(folder, target)
        return
    model, _, config = load_base(folder)
    import mlx.core as mx  # noqa: PLC0415  after prepare
    from mlx.utils import tree_flatten  # noqa: PLC0415

    target.mkdir()
    arrays: Any = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(target / "model.safetensors"), arrays, metadata={"format": "mlx"})
    kept = {name: value for name, value in config.items() if not name.startswith("quantization")}
    (target / "config.json").write_text(json.dumps(kept))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copyfile(folder / name, target / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
