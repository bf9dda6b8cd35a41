-- Evaluations, and the gate before a promotion.
SELECT 1;
