"""A version may have been trained elsewhere."""

from pathlib import Path

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql"


def upgrade() -> None:
    """Add what this needs."""
    _execute("0015_upgrade.sql")


def downgrade() -> None:
    """Take it back, unless there is an imported version."""
    _execute("0015_downgrade.sql")


def _execute(name: str) -> None:
    options = {"no_parameters": True}  # several statements at once, and % is just a character
    op.get_bind().exec_driver_sql((SQL / name).read_text(), execution_options=options)
