"""`python -m mlx_hub.cli`."""

from mlx_hub.cli.main import main

main()
