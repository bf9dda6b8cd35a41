"""Inference beside its peers, all sides in one run: the same model, prompts and machine.

.venv/bin/python -m bench.inference [--only ROW ...] [--without PEER ...] [--rounds 5] [--json FILE]
.venv/bin/python -m bench.inference --random-7b [--json FILE]

Peers are mlx-lm in process (stream_generate and BatchGenerator), mlx_lm.server, and llama.cpp's
server, which `.cache/uv/bin/uv pip install --group bench` brings. On a CPU each MLX side holds the
same dense float32 weights and calls the same BLAS; a second column has mlx_lm.server with the BLAS
of MLX's own wheel. llama.cpp runs the GGUF file as it is, by its own 4-bit kernels.
"""
