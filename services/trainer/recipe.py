"""The recipe: what decides the trained weights, besides the base model and the data."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from services.chassis.errors import Invalid


class Method(StrEnum):
    """What is trained of the model."""

    LORA = "lora"
    DORA = "dora"
    FULL = "full"


class Optimizer(StrEnum):
    """How a gradient changes the weights."""

    ADAMW = "adamw"
    ADAM = "adam"
    SGD = "sgd"
    ADAFACTOR = "adafactor"
    LION = "lion"


class Schedule(StrEnum):
    """How the learning rate changes after the warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


ADAMW_DECAY = 0.01


@dataclass(frozen=True)
class Recipe:
    """One job's recipe; the defaults are the contract's."""

    lora_rank: int = 8
    learning_rate: float = 1e-4
    epochs: int = 1
    batch_size: int = 4
    seed: int = 0
    lora_scale: float = 20.0
    lora_dropout: float = 0.0
    lora_layers: int = 0
    max_seq_length: int = 512
    mask_prompt: bool = True
    validation_fraction: float = 0.1
    checkpoint_every_steps: int = 20
    test_fraction: float = 0.0
    method: Method = Method.LORA
    quantize_bits: int = 0
    target_keys: tuple[str, ...] = ()
    optimizer: Optimizer = Optimizer.ADAMW
    schedule: Schedule = Schedule.CONSTANT
    warmup_steps: int = 0
    weight_decay: float = ADAMW_DECAY
    grad_clip: float = 0.0
    grad_accumulation: int = 1
    grad_checkpoint: bool = False
    nonfinite_lr_factor: float = 0.0
    early_stop_patience: int = 0
    early_stop_min_delta: float = 0.0
    evaluate: bool = True
    samples: int = 3
    sample_prompts: tuple[str, ...] = ()
    sample_tokens: int = 32

    def __post_init__(self) -> None:
        """Take what rows and JSON hold for the types that they have no word for."""
        for name, kind in (
            ("method", Method),
            ("target_keys", tuple),
            ("sample_prompts", tuple),
            ("optimizer", Optimizer),
            ("schedule", Schedule),
        ):
            object.__setattr__(self, name, kind(getattr(self, name)))


DEFAULTS = Recipe()


def complete(given: Mapping[str, Any]) -> Recipe:
    """Fill in the defaults, also those that depend on other fields; refuse what contradicts."""
    if given.get("method") == Method.FULL:
        for name in ("lora_rank", "lora_scale", "lora_dropout", "quantize_bits"):
            if given.get(name):
                raise Invalid(
                    "INVALID_FIELD",
                    f"method full trains the weights themselves; leave {name} out",
                    field=name,
                )
    optimizer = given.get("optimizer", Optimizer.ADAMW)
    if optimizer == Optimizer.ADAM and given.get("weight_decay"):
        raise Invalid(
            "INVALID_FIELD",
            "adam takes no weight decay; leave weight_decay out, or use adamw",
            field="weight_decay",
        )
    decay = ADAMW_DECAY if optimizer == Optimizer.ADAMW else 0.0
    recipe = Recipe(**{"weight_decay": decay, **given})
    _check_early_stop(recipe)
    return recipe


def _check_early_stop(recipe: Recipe) -> None:
    if recipe.early_stop_patience and not recipe.validation_fraction:
        raise Invalid(
            "INVALID_FIELD",
            "early_stop_patience needs held-out rows and validation_fraction is 0; raise "
            "validation_fraction, or leave early_stop_patience out",
            field="early_stop_patience",
        )
    if recipe.early_stop_min_delta and not recipe.early_stop_patience:
        raise Invalid(
            "INVALID_FIELD",
            "early_stop_min_delta says what early_stop_patience waits for; give "
            "early_stop_patience too, or leave early_stop_min_delta out",
            field="early_stop_min_delta",
        )
