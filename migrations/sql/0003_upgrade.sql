-- Datasets are uploaded, reported on and deleted.
SELECT 1;
