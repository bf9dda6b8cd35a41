-- Takes back 0017. A log has no gaps, so what it told of memory stays, as a checkpoint of step 0.

UPDATE trainer.job_events SET kind = 'checkpoint', payload = '{"step": 0}'
  WHERE kind IN ('memory_wait', 'forecast');
ALTER TABLE trainer.job_events DROP CONSTRAINT ck_job_events_kind;
ALTER TABLE trainer.job_events ADD CONSTRAINT ck_job_events_kind
  CHECK (kind IN ('job', 'step', 'validation', 'checkpoint', 'rate_lowered', 'weights_kept', 'cooldown_began', 'cooldown_ended', 'evaluation'));
