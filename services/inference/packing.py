"""How keys and values are quantised: numbers side by side share a scale and a bias."""

GROUP_SIZES = 64, 32


def group_size(*widths: int) -> int:
    """Give how many numbers share one, in heads of these widths; 0 where none of the sizes fits."""
    return next((size for size in GROUP_SIZES if not any(width % size for width in widths)), 0)


def number_bytes(bits: int, head_dim: int, width: int) -> float:
    """Give the bytes of one number of keys or values: `width` where they are not quantised."""
    size = group_size(head_dim)
    return bits / 8 + 2 * width / size if bits and size else width
