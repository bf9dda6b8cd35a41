-- Takes back 0008: reports can be made again; which rows a job kept for tests is lost, in the rows
-- of versions too: an earlier registry can't read a lineage that says it. Their manifests keep it.

DROP TABLE registry.dataset_reports;

DROP TRIGGER guard_recipe ON trainer.jobs;

CREATE TRIGGER guard_recipe BEFORE UPDATE OF model_id, dataset_id, lora_rank, learning_rate, epochs,
    batch_size, seed, lora_scale, lora_dropout, lora_layers, max_seq_length, mask_prompt,
    validation_fraction, checkpoint_every_steps, max_attempts, request_id, request_digest,
    created_at
  ON trainer.jobs EXECUTE FUNCTION trainer.guard_recipe();

ALTER TABLE trainer.jobs DROP COLUMN test_fraction;

ALTER TABLE registry.versions DISABLE TRIGGER guard;
UPDATE registry.versions
  SET lineage = lineage - '{test_rows,split_seed,validation_fraction,test_fraction}'::text[];
ALTER TABLE registry.versions ENABLE TRIGGER guard;
