-- Takes back 0007.
SELECT 1;
