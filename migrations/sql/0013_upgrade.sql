-- A job says more of how far it is.

ALTER TABLE trainer.jobs
  ADD COLUMN smoothed_loss REAL,
  ADD COLUMN eta_seconds DOUBLE PRECISION,
  ADD COLUMN grad_norm REAL,
  ADD COLUMN trained_tokens DOUBLE PRECISION DEFAULT 0 NOT NULL,
  ADD CONSTRAINT ck_jobs_live CHECK (eta_seconds >= 0 AND grad_norm >= 0 AND trained_tokens >= 0);
