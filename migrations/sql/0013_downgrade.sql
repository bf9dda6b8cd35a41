-- Takes back 0013: what running jobs said beyond their steps is lost.

ALTER TABLE trainer.jobs
  DROP COLUMN smoothed_loss,
  DROP COLUMN eta_seconds,
  DROP COLUMN grad_norm,
  DROP COLUMN trained_tokens;
