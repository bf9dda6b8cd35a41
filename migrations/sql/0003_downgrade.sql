-- Takes back 0003.
REVOKE DELETE ON registry.datasets FROM mlx_hub_registry;
