"""The engine child: the only code of the inference service that runs MLX.

One process serves one base model with all its adapters. Its main thread owns MLX and runs
the batch; other threads read commands, make tokens of prompts, and make text of tokens.
Nothing is imported here: `services.runtime.model.prepare` must run before MLX loads.
"""
