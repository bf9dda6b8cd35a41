-- What MLflow hears of a job, attempt by attempt.
SELECT 1;
