"""Every setting of the stack and of what it starts, as `mlx-hub config` tells them."""

from services.chassis.settings import load
from services.inference.settings import InferenceSettings
from services.registry.settings import RegistrySettings
from services.stack.settings import StackSettings, environment_name
from services.trainer.settings import TrainerSettings

# The services refuse to start without one; the stack gives them its own.
_EMBEDDED = "postgresql:///"


def every_setting() -> tuple[dict[str, str], bool]:
    """Give every setting by its variable, secrets masked, and whether all services take theirs."""
    stack = load(StackSettings)
    found = {environment_name(field): value for field, value in stack.masked().items()}
    sound = True
    for kind in (RegistrySettings, TrainerSettings, InferenceSettings):
        try:
            told = load(kind, database_url=stack.database_url or _EMBEDDED).masked()
        except SystemExit:
            sound = False  # load has said why; the others are shown all the same
            continue
        named = {environment_name(field, kind): value for field, value in told.items()}
        found |= {name: value for name, value in named.items() if name not in found}
    return found, sound
