"""The reporting child: `python -m services.runtime.report FD`, what a job would make of a dataset.

A process of its own because reading a dataset keeps a core and the interpreter's lock busy for
minutes, and because the tokenizer is loaded as the trainer loads it, through mlx-lm. It reads a
dataset row by row and keeps lengths, hashes and signatures, no texts.
"""
