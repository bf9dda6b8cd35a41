"""The `mlx-hub` command line."""
