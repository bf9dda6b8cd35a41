"""The local stack: Postgres, migrations, the three services and the gateway as child processes."""
