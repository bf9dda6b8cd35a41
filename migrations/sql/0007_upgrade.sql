-- What the background check of stored files remembers; see docs/adr/0015.

CREATE TABLE registry.stored_checks (
	path TEXT NOT NULL,
	checked_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	damaged TEXT DEFAULT '' NOT NULL,
	CONSTRAINT pk_stored_checks PRIMARY KEY (path),
	CONSTRAINT ck_stored_checks_path CHECK (path ~ '^(base|versions|datasets)/.')
);

CREATE INDEX ix_stored_checks_damaged ON registry.stored_checks (path) WHERE damaged <> '';

GRANT SELECT, INSERT, UPDATE ON registry.stored_checks TO mlx_hub_registry;
