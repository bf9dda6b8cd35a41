"""A service that only says that it serves: `python -m tests.integration.stand_in NAME`."""

import asyncio
import os
import sys

from services.chassis.server import HubServer, prepare, serve
from services.chassis.settings import HubSettings, load


def main(name: str) -> int:
    """Serve health and SystemService, or fail as STAND_IN_FAILS asks."""
    if os.environ.get("STAND_IN_FAILS") == name:
        print("the stand-in was told to fail")
        return 3
    settings = load(HubSettings)
    prepare(name, settings)

    async def run() -> int:
        return await serve(HubServer(name, settings))

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
