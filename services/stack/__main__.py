"""`python -m services.stack`: a stack without a terminal, started by `mlx-hub up --detach`."""

import argparse
import json
import os
import sys

from services.chassis import logs
from services.chassis.settings import load
from services.stack.errors import StackError
from services.stack.settings import StackSettings
from services.stack.signals import stops_on_signals
from services.stack.stack import Stack


def main() -> int:
    """Run a stack and report its start on a pipe, one JSON object a line."""
    parser = argparse.ArgumentParser(prog="python -m services.stack", description=__doc__)
    parser.add_argument("--report-fd", type=int, required=True)
    parser.add_argument("--lifeline-fd", type=int)
    options = parser.parse_args()
    report = options.report_fd

    def tell(**what: str | int) -> None:
        if report is not None:
            os.write(report, json.dumps(what).encode() + b"\n")

    def serving(port: int) -> None:
        nonlocal report
        tell(port=port)
        os.close(report)
        report = None

    settings = load(StackSettings)
    logs.configure("stack", settings.log_level, settings.log_format)
    stack = Stack(settings, lambda step: tell(step=step), options.lifeline_fd)
    with stops_on_signals(stack):
        try:
            stack.run(serving)
        except (StackError, OSError) as error:
            tell(error=str(error))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
