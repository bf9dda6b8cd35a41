-- Base models say where they come from.

ALTER TABLE registry.base_models
  ADD COLUMN quantization TEXT DEFAULT '' NOT NULL,
  ADD COLUMN source TEXT DEFAULT '' NOT NULL,
  ADD COLUMN source_revision TEXT DEFAULT '' NOT NULL,
  ADD CONSTRAINT ck_base_models_source
    CHECK (source ~ '^((folder|gguf)|(wheel|huggingface):[!-~]{1,200})?$'),
  ADD CONSTRAINT ck_base_models_source_revision
    CHECK (source_revision = '' OR source ~ '^(wheel|huggingface):');
