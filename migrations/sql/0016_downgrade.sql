-- Takes back 0016: a parked entry is tried again like any other, and holds back later versions.

ALTER TABLE registry.outbox DROP COLUMN parked_at;

REVOKE DELETE ON registry.dataset_reports, registry.stored_checks FROM mlx_hub_registry;
