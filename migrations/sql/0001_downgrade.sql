REVOKE SELECT ON public.mlx_hub_alembic_version FROM mlx_hub_registry, mlx_hub_trainer;

DROP SCHEMA registry, trainer CASCADE;

-- Another database of this server may still use the roles; then they stay.
DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['mlx_hub_registry', 'mlx_hub_trainer'] LOOP
    BEGIN
      EXECUTE format('DROP ROLE %I', name);
    EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
      NULL;
    END;
  END LOOP;
END
$$;
