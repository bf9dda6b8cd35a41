"""Taking versions out of the hub and bringing adapters in, in children that own MLX.

`layout`, `peft`, `source` and `wanted` are plain Python: what comes from elsewhere is read there
first.
"""

TOLERANCE = 0.25
"""How much of an adapter's effect an export may lose, if nothing else is said."""
MAX_POSITIONS = 256
"""At how many tokens models are compared."""
