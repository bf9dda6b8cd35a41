"""`python -m deploy.autostart up`: the hub starts at login, by launchd on macOS, systemd on Linux.

`trainer inference` in place of `up` are the two that run natively beside compose.mac.yaml's
containers. Settings come from a file of NAME=VALUE lines, made empty and for its owner only if it
isn't there. With --folder the files are only written there, to be looked at.
"""

import argparse
import os
import plistlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
AGENTS = Path("~/Library/LaunchAgents").expanduser()
UNITS = Path("~/.config/systemd/user").expanduser()


def filled(value: Any, places: Mapping[str, str]) -> Any:
    """Put paths in place of their names, in every text of a property list or of a unit."""
    if isinstance(value, dict):
        return {key: filled(part, places) for key, part in value.items()}
    if isinstance(value, list):
        return [filled(part, places) for part in value]
    if isinstance(value, str):
        for name, path in places.items():
            value = value.replace(f"@{name}@", path)
    return value


def agent(name: str, places: Mapping[str, str]) -> bytes:
    """Give the property list of one launchd agent."""
    template = ROOT / "deploy" / "launchd" / f"mlx-hub.{name}.plist"
    return plistlib.dumps(filled(plistlib.loads(template.read_bytes()), places))


def unit(places: Mapping[str, str]) -> bytes:
    """Give systemd's unit."""
    text = (ROOT / "deploy" / "systemd" / "mlx-hub.service").read_text()
    return str(filled(text, {k: v.replace("%", "%%") for k, v in places.items()})).encode()


def write(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)
    print(f"wrote {path}")


def install(names: list[str], places: Mapping[str, str], folder: Path | None, system: str) -> None:
    """Write the files and start what they describe."""
    if system == "darwin":
        domain = f"gui/{os.getuid()}"
        for name in names:
            path = (folder or AGENTS) / f"mlx-hub.{name}.plist"
            write(path, agent(name, places))
            if folder is None:
                gone = ["launchctl", "bootout", f"{domain}/mlx-hub.{name}"]
                subprocess.run(gone, check=False, stderr=subprocess.DEVNULL)
                subprocess.run(["launchctl", "bootstrap", domain, str(path)], check=True)
        return
    write((folder or UNITS) / "mlx-hub.service", unit(places))
    if folder is None:
        subprocess.run(["systemctl", "--user", "daemon-reload"], check=True)
        subprocess.run(["systemctl", "--user", "enable", "--now", "mlx-hub"], check=True)


def main(arguments: list[str], system: str = sys.platform) -> int:
    """Read the command line and install."""
    parser = argparse.ArgumentParser(prog="python -m deploy.autostart", description=__doc__)
    parser.add_argument("names", nargs="+", choices=["up", "trainer", "inference"])
    parser.add_argument("--env", type=Path, default=Path("~/.mlx-hub.env"), help="settings")
    parser.add_argument("--logs", type=Path, default=Path("~/.mlx-hub/logs"), help="a folder")
    parser.add_argument("--folder", type=Path, help="write the files there and start nothing")
    options = parser.parse_args(arguments)
    if "up" in options.names and len(options.names) > 1:
        parser.error("`up` starts the trainer and the inference service itself")
    if system != "darwin" and options.names != ["up"]:
        parser.error("on Linux these two run in containers: compose.yaml with --profile cpu")
    env, logs = (path.expanduser().absolute() for path in (options.env, options.logs))
    if not env.exists():
        write(env, b"# NAME=VALUE, one a line: docs/operations.md\n")
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    places = {"ROOT": str(ROOT), "ENV": str(env), "LOGS": str(logs)}
    install(options.names, places, options.folder, system)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
