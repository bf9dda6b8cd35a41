"""A job knows the trace of the call that created it."""

from pathlib import Path

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql"


def upgrade() -> None:
    """Add what this needs."""
    _execute("0018_upgrade.sql")


def downgrade() -> None:
    """Take them back; what only they could say is lost."""
    _execute("0018_downgrade.sql")


def _execute(name: str) -> None:
    options = {"no_parameters": True}  # several statements at once, and % is just a character
    op.get_bind().exec_driver_sql((SQL / name).read_text(), execution_options=options)
