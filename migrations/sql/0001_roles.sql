-- Each service acts under a role that sees nothing but its own schema. Roles belong to
-- the whole server, so another database on it may have made them already.

DO $$
DECLARE
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['mlx_hub_registry', 'mlx_hub_trainer'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN', name);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;  -- made in this moment, for another database
      END;
    END IF;
    BEGIN
      EXECUTE format('SET LOCAL ROLE %I', name);
      RESET ROLE;
    EXCEPTION WHEN insufficient_privilege THEN
      EXECUTE format('GRANT %I TO CURRENT_USER', name);
    END;
  END LOOP;
END
$$;

GRANT SELECT ON public.mlx_hub_alembic_version TO mlx_hub_registry, mlx_hub_trainer;

GRANT USAGE ON SCHEMA registry TO mlx_hub_registry;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA registry TO mlx_hub_registry;
REVOKE UPDATE ON registry.model_events FROM mlx_hub_registry;

GRANT USAGE ON SCHEMA trainer TO mlx_hub_trainer;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA trainer TO mlx_hub_trainer;
REVOKE UPDATE ON trainer.job_events FROM mlx_hub_trainer;
