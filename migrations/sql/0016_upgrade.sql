-- Reports and checks of what is gone go too, and an entry that MLflow never takes is parked.

GRANT DELETE ON registry.dataset_reports, registry.stored_checks TO mlx_hub_registry;

ALTER TABLE registry.outbox
  ADD COLUMN parked_at TIMESTAMP WITH TIME ZONE,
  ADD CONSTRAINT ck_outbox_parked CHECK (parked_at IS NULL OR failing_since IS NOT NULL);
