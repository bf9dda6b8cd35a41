-- Datasets are uploaded and deleted; the keys that refer to them say when not.
GRANT DELETE ON registry.datasets TO mlx_hub_registry;
