"""Taking versions out of the hub and bringing adapters in, in children that own MLX.

`layout`, `peft` and `source` are plain Python: what comes from elsewhere is read there first.
"""
