"""What the child processes that own MLX share.

Two kinds of child run models: the trainer's worker and the inference engine. The importer of base
models is a third, short-lived one. Only they import the modules here that use MLX (`model`, `blas`,
`gguf`, `convert`): `import mlx_lm` changes the whole process (it lowers RLIMIT_NOFILE), and a
failed MLX allocation ends it. `folder`, `safetensors`, `gguf_header` and `elf` are plain Python and
safe to import anywhere.

Nothing is imported here: `model.prepare` must run before anything else loads MLX.
"""
