"""The bar of a download, on stderr of a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlx_hub.cli.output import console
from mlx_hub.client.upload import Progress
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bar


@contextmanager
def downloading() -> Iterator[Progress]:
    """Show a bar that hears how many bytes came, of how many."""
    ui = console(stderr=True)
    columns = (TextColumn("Downloading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, console=ui, disable=not ui.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda came, total: bar.update(task, completed=came, total=total)
