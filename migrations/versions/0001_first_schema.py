"""Both services' schemas, their roles and their guards."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql"


def upgrade() -> None:
    """Create everything."""
    _execute("0001_upgrade.sql")
    _execute("0001_roles.sql")


def downgrade() -> None:
    """Drop everything, and the roles unless another database uses them."""
    _execute("0001_downgrade.sql")


def _execute(name: str) -> None:
    options = {"no_parameters": True}  # several statements at once, and % is just a character
    op.get_bind().exec_driver_sql((SQL / name).read_text(), execution_options=options)
