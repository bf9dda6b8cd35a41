"""What the child processes that own MLX share.

Two kinds of child run models: the trainer's worker and the inference engine. Two more live shorter:
the importer of base models and the reporter on datasets. Only they import the modules here that use
MLX (`model`, `blas`, `gguf`, `convert`, `peak`, `report`): `import mlx_lm` changes the whole
process (it lowers RLIMIT_NOFILE), and a failed MLX allocation ends it. `folder`, `safetensors`,
`gguf_header`, `elf`, `rows`, `shape` and `trainable` are plain Python and safe to import anywhere;
`batches` and `encoding` need NumPy at most.

Nothing is imported here: `model.prepare` must run before anything else loads MLX.
"""
