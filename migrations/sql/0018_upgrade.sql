-- A job knows the trace of the call that created it.

ALTER TABLE trainer.jobs ADD COLUMN traceparent TEXT DEFAULT '' NOT NULL;
ALTER TABLE trainer.jobs ADD CONSTRAINT ck_jobs_traceparent
  CHECK (traceparent ~ '^([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?$');
