-- A job's log tells of the memory that its attempts need and wait for.

ALTER TABLE trainer.job_events DROP CONSTRAINT ck_job_events_kind;
ALTER TABLE trainer.job_events ADD CONSTRAINT ck_job_events_kind
  CHECK (kind IN ('job', 'step', 'validation', 'checkpoint', 'rate_lowered', 'weights_kept', 'cooldown_began', 'cooldown_ended', 'evaluation', 'memory_wait', 'forecast'));
