-- Takes back 0006.
SELECT 1;
