"""What is asked. Each prompt begins with a number of its own, so that no cache knows it."""

import itertools
import json
import random
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

_numbers = itertools.count(101)
_WORDS = (
    "harbour", "river", "stone", "light", "wind", "house", "road", "field", "winter", "summer",
    "morning", "evening", "garden", "bridge", "tower", "market", "letter", "window", "table",
    "paper", "water", "silver", "copper", "iron", "forest", "valley", "island", "mountain",
)  # fmt: skip
HARBOUR = "The history of the harbour begins long before the first map of the coast was drawn."
COPY = """def area(width, height):
    \"\"\"Give the area of a rectangle with this width and height.\"\"\"
    return width * height


def volume(width, height, depth):
    \"\"\"Give the volume of a box with this width, height and depth.\"\"\"
    return area(width, height) * depth


def surface(width, height, depth):
    \"\"\"Give the surface of a box with this width, height and depth.\"\"\"
    return 2 * (area(width, height) + area(width, depth) + area(height, depth))
"""


def story() -> str:
    """Give a short prompt that small models go on with for long."""
    return f"{next(_numbers)}. {HARBOUR}"


def short() -> str:
    """Give a prompt that is read at once."""
    return f"{next(_numbers)} is"


def long(tokens: int) -> str:
    """Give a prompt of about so many tokens: each word is one."""
    number = next(_numbers)
    draw = random.Random(number)  # noqa: S311
    return f"{number}. " + " ".join(draw.choice(_WORDS) for _ in range(tokens - 5))


def copy() -> str:
    """Give a prompt whose answer repeats it."""
    return f"# Version {next(_numbers)}\n{COPY}\n\n# The same code once more:\n{COPY[:120]}"


def adapters(base: Path, target: Path, count: int) -> list[Path]:
    """Write LoRA adapters of random weights for a llama folder, in mlx-lm's form."""
    config = json.loads((base / "config.json").read_text())
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    keys = {
        "self_attn.q_proj": head * config["num_attention_heads"],
        "self_attn.v_proj": head * config["num_key_value_heads"],
    }
    parameters = {"rank": 8, "scale": 2.0, "dropout": 0.0, "keys": list(keys)}
    about = {"fine_tune_type": "lora", "num_layers": layers, "lora_parameters": parameters}
    found = []
    for number in range(count):
        draw = np.random.default_rng(number)
        weights = {}
        for layer, (key, outputs) in itertools.product(range(layers), keys.items()):
            for part, shape in (("lora_a", (hidden, 8)), ("lora_b", (8, outputs))):
                values = draw.standard_normal(shape, dtype=np.float32) * np.float32(0.01)
                weights[f"model.layers.{layer}.{key}.{part}"] = values
        folder = target / f"adapter-{number + 1}"
        folder.mkdir()
        save_file(weights, folder / "adapters.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps(about))
        found.append(folder)
    return found
