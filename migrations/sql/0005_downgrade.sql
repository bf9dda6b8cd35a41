-- Takes back 0005.

DELETE FROM registry.model_events WHERE type IN ('evaluated', 'gate_set', 'gate_deleted');

ALTER TABLE registry.model_events
  DROP CONSTRAINT ck_model_events_type,
  DROP CONSTRAINT ck_model_events_version,
  ADD CONSTRAINT ck_model_events_type CHECK (type IN ('created', 'trained', 'quarantined', 'updated',
    'promoted', 'rolled_back', 'alias_deleted', 'archived', 'restored')),
  ADD CONSTRAINT ck_model_events_version CHECK ((type IN ('created', 'updated')) = (version = 0));

DROP TABLE registry.promotion_gates;

DROP TABLE registry.evaluations;
