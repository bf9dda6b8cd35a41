"""What a child process that owns MLX or reads data is given of its parent's environment."""

import os
import re

# It needs neither the database nor MLflow, the Hugging Face hub or a collector of spans, and these
# hold passwords.
_SECRETS = re.compile(r"DATABASE_URL|(MLFLOW_|PG|OTEL_).*|HF_TOKEN|HUGGING_FACE_HUB_TOKEN")


def environment(**defaults: str) -> dict[str, str]:
    """Give our environment without its secrets; `defaults` are for what is not set in it."""
    kept = {name: v for name, v in os.environ.items() if not _SECRETS.fullmatch(name)}
    return {**defaults, **kept}
