-- Takes back 0004.

ALTER TABLE registry.base_models
  DROP COLUMN quantization,
  DROP COLUMN source,
  DROP COLUMN source_revision;
