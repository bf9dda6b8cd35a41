"""Base models say where they come from."""

from pathlib import Path

from alembic import context, op
from alembic.util import CommandError
from sqlalchemy import text

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SQL = Path(__file__).resolve().parents[1] / "sql"


def upgrade() -> None:
    """Add what this needs."""
    _execute("0004_upgrade.sql")


def downgrade() -> None:
    """Take them back; what only they could say is lost.

    An earlier registry can't read how versions came to be as it is recorded since, and could not
    start. What it would have to be without names the files that it must find.
    """
    newer = "SELECT count(*) FROM registry.versions WHERE lineage ? 'base_source'"
    count = op.get_bind().scalar(text(newer))
    if count and context.get_revision_argument():
        raise CommandError(
            f"the lineage of {count} version(s) was recorded by a release that earlier ones can't "
            "read; stay at revision 0004 or later, or restore a backup from before the upgrade"
        )
    _execute("0004_downgrade.sql")


def _execute(name: str) -> None:
    options = {"no_parameters": True}  # several statements at once, and % is just a character
    op.get_bind().exec_driver_sql((SQL / name).read_text(), execution_options=options)
