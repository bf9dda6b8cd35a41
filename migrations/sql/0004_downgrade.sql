-- Takes back 0004.
SELECT 1;
