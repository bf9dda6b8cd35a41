-- Takes back 0018.

ALTER TABLE trainer.jobs DROP COLUMN traceparent;
