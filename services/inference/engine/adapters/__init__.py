"""Many adapters in one batch: read and verified, kept in slots, and each row led to its own.

`files` reads on any thread; `slots` and `layers` belong to the thread that owns MLX.
"""
