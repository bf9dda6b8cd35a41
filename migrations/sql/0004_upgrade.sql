-- Base models say where they come from.
SELECT 1;
