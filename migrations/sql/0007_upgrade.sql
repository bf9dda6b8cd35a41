-- What the reconciler and the verifier found.
SELECT 1;
