"""The stack's verbs cost the other verbs next to nothing."""

import subprocess
import sys

# What takes longer to load than most verbs take to run.
HEAVY = "{'pydantic', 'psycopg', 'jinja2', 'cryptography', 'sqlalchemy', 'mlx', 'numpy'}"


def test_to_know_them_loads_nothing_of_what_they_need() -> None:
    """Every call of `mlx-hub` imports them, also one that only asks a running hub."""
    code = f"import sys, services.stack.commands; print(*{HEAVY} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
