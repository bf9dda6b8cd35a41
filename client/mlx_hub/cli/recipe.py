"""A recipe's options, the same for every verb that takes one."""

from enum import StrEnum

from mlx_hub.cli.options import Options, takes


class Method(StrEnum):
    """What is trained."""

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


_OPTIONS: Options = {
    "method": (Method, "Default lora.", None),
    "quantize_bits": (int, "Of the base: 0, 4 or 8.", None),
    "lora_rank": (int, "Rank of the adapter.", None),
    "lora_scale": (float, "Factor of the adapter.", None),
    "lora_dropout": (float, "Dropout of the adapter.", None),
    "lora_layers": (int, "Last layers trained; 0 all.", None),
    "target_keys": (list[str], "A linear layer to train; repeat it.", "--target-key"),
    "epochs": (int, "Passes over the rows.", None),
    "batch_size": (int, "Rows in a batch.", None),
    "grad_accumulation": (int, "Batches in a step.", None),
    "max_seq_length": (int, "Longest row in tokens.", None),
    "mask_prompt": (bool, "Train on answers only.", None),
    "optimizer": (Optimizer, "Default adamw.", None),
    "learning_rate": (float, "Peak learning rate.", None),
    "schedule": (Schedule, "After the warm-up.", None),
    "warmup_steps": (int, "Steps up to the peak.", None),
    "weight_decay": (float, "Of the optimizer.", None),
    "grad_clip": (float, "Largest norm; 0 any.", None),
    "grad_checkpoint": (bool, "Slower, less memory.", None),
    "nonfinite_lr_factor": (float, "Lowers the rate once after NaN; 0 never.", None),
    "seed": (int, "Of weights, order and split.", None),
    "validation_fraction": (float, "Rows held out.", None),
    "test_fraction": (float, "Rows kept for evaluation.", None),
    "early_stop_patience": (int, "Validations without a lower loss; 0 any.", None),
    "early_stop_min_delta": (float, "How much lower counts, in nats.", None),
    "evaluate": (bool, "Score held-out rows.", None),
    "samples": (int, "Rows answered before and after.", None),
    "sample_prompts": (list[str], "To be answered; repeat it.", "--sample-prompt"),
    "sample_tokens": (int, "Longest answer.", None),
    "checkpoint_every_steps": (int, "Steps between checkpoints.", None),
    "checkpoints_kept": (int, "The newest that stay.", None),
    "max_attempts": (int, "Before it fails for good.", None),
}

takes_recipe = takes(_OPTIONS)
