"""`mlx-hub demo`: the main job on a real model, from the import to the lineage."""

import hashlib
from pathlib import Path

from mlx_hub.cli.demo import run_demo
from mlx_hub.cli.output import console, literal
from mlx_hub.client import Hub
from rich.console import Console

import services
from services.stack import launch, starter
from services.stack.errors import StackError
from services.stack.home import Home
from services.stack.models import import_model
from services.stack.ports import is_free
from services.stack.settings import PORT_FIELDS, StackSettings, environment_name

DATASET = "ticket-triage.jsonl"


def demo(settings: StackSettings) -> None:
    """Run the demo on the home's stack, or on one of its own that it stops at the end."""
    ui = console()
    model = starter.source()
    examples = example_files()

    def say(step: str) -> None:
        ui.print(literal(f"  {step}"))

    ui.print(literal("== The hub", style="bold"))
    settings = _with_free_ports(settings, ui)
    with launch.running(settings, say) as stack, Hub(f"127.0.0.1:{stack.port}") as hub:
        say(f"{'started' if stack.ours else 'already running'}: http://127.0.0.1:{stack.port}")
        ui.print(literal("\n== The starter base model", style="bold"))
        if starter.NAME not in {base.name for base in hub.models.base_models()}:
            with ui.status("importing"):
                import_model(settings, model, starter.NAME, say)
        say(f"{starter.NAME} is imported")
        dataset = install_examples(examples, settings.dataset_root)[DATASET]
        run_demo(hub, base_model=starter.NAME, dataset_path=dataset, ui=ui)
        ui.print(literal("\n== The end", style="bold"))
    if stack.ours:
        say("everything stopped; `mlx-hub up` starts the hub again, with what the demo made")


def example_files() -> list[Path]:
    """Find the example data of the checkout."""
    folder = Path(services.__path__[0]).parent / "examples"
    files = sorted(folder.glob("*.jsonl"))
    if DATASET not in {file.name for file in files}:
        raise StackError(f"The example data {folder / DATASET} is missing; the demo needs it.")
    return files


def install_examples(files: list[Path], root: Path) -> dict[str, str]:
    """Copy example data below the dataset root; a name holds its hash, so data never change."""
    root.mkdir(parents=True, exist_ok=True)
    installed = {}
    for file in files:
        data = file.read_bytes()
        name = f"{file.stem}-{hashlib.sha256(data).hexdigest()[:8]}.jsonl"
        if not (root / name).exists():
            fresh = root / f".{name}.new"
            fresh.write_bytes(data)
            fresh.replace(root / name)
        installed[file.name] = name
    return installed


def _with_free_ports(settings: StackSettings, ui: Console) -> StackSettings:
    """Move away from default ports that are taken; ports that were asked for stay."""
    if Home(settings.home).ports():
        return settings
    taken = [
        name
        for name in PORT_FIELDS
        if name not in settings.model_fields_set and not is_free(getattr(settings, name))
    ]
    for name in taken:
        port, variable = getattr(settings, name), environment_name(name)
        ui.print(literal(f"  port {port} ({variable}) is taken; the demo uses a free one"))
    return settings.model_copy(update=dict.fromkeys(taken, 0))
