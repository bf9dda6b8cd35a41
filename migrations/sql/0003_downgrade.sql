-- Takes back 0003.
SELECT 1;
