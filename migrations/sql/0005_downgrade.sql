-- Takes back 0005.
SELECT 1;
