"""What was trained, as mlx-lm reads it: adapters.safetensors and adapter_config.json."""

import json
from pathlib import Path

from services.runtime.folder import FileDigest, digest
from services.trainer.worker.checkpoint import save_arrays
from services.trainer.worker.files import whole_folder
from services.trainer.worker.loop import Trainer


def export(trainer: Trainer, output: Path, base_digest: str) -> list[FileDigest]:
    """Write the adapter's folder; the same weights give the same bytes."""
    config = {**trainer.config, "base_digest": base_digest}
    with whole_folder(output) as folder:
        save_arrays(folder / "adapters.safetensors", trainer.model.trainable_parameters())
        text = json.dumps(config, indent=2, sort_keys=True)
        (folder / "adapter_config.json").write_text(text + "\n")
    return [digest(path) for path in sorted(output.iterdir())]
