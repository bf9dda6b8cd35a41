"""What launchd and systemd are given is sound, and says where everything is."""

import configparser
import os
import plistlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy import autostart

# Of launchd.plist(5): each key with its type.
KEYS: dict[str, type | tuple[type, ...]] = {
    "Label": str,
    "ProgramArguments": list,
    "WorkingDirectory": str,
    "RunAtLoad": bool,
    "KeepAlive": (bool, dict),
    "ThrottleInterval": int,
    "ExitTimeOut": int,
    "ProcessType": str,
    "Umask": int,
    "StandardOutPath": str,
    "StandardErrorPath": str,
}
NAMES = sorted(
    path.stem.removeprefix("mlx-hub.")
    for path in Path(autostart.ROOT).glob("deploy/launchd/*.plist")
)


def made(folder: Path, *names: str, system: str = "darwin") -> Path:
    words = [*names, "--env", str(folder / "a & b.env"), "--logs", str(folder / "logs")]
    assert autostart.main([*words, "--folder", str(folder)], system) == 0
    return folder


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = plistlib.loads(path.read_bytes())
    return found


@pytest.mark.parametrize("name", NAMES)
def test_agents(name: str, tmp_path: Path) -> None:
    agent = read(made(tmp_path, name) / f"mlx-hub.{name}.plist")
    assert set(agent) == set(KEYS)
    for key, kind in KEYS.items():
        assert isinstance(agent[key], kind), key
        assert type(agent[key]) is not bool or kind is not int
    assert agent["Label"] == f"mlx-hub.{name}"
    assert "@ROOT@" not in str(agent)
    shell, _, script, env, program, *words = agent["ProgramArguments"]
    for path in (shell, env, program, agent["WorkingDirectory"], agent["StandardOutPath"]):
        assert Path(path).is_absolute()
    assert Path(env).stat().st_mode & 0o077 == 0
    assert Path(agent["StandardOutPath"]).parent.is_dir()
    assert Path(program) == autostart.ROOT / ".venv" / "bin" / Path(program).name
    assert agent["Umask"] == 0o077
    Path(env).write_text("MLX_HUB_PORT=8090\n")
    shown = [sys.executable, "-c", "import os; print(os.environ['MLX_HUB_PORT'])"]
    told = subprocess.run([shell, "-c", script, env, *shown], capture_output=True, check=True)
    assert told.stdout == b"8090\n", "the settings of the file reach the program"
    assert words == (["up"] if name == "up" else ["-P", "-m", f"services.{name}"])


def test_the_unit(tmp_path: Path) -> None:
    path = made(tmp_path, "up", system="linux") / "mlx-hub.service"
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(path)
    service = unit["Service"]
    program, verb = shlex.split(service["ExecStart"])
    assert (program, verb) == (str(autostart.ROOT / ".venv/bin/mlx-hub"), "up")
    assert service["EnvironmentFile"] == str(tmp_path / "a & b.env"), "quotes are no part of it"
    assert path.stat().st_mode & 0o077 == 0
    if verify := shutil.which("systemd-analyze"):
        done = subprocess.run(
            [verify, "--user", "verify", str(path)],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("names", "system"), [(["up", "trainer"], "darwin"), (["trainer"], "linux")]
)
def test_what_makes_no_sense_is_refused(names: list[str], system: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        autostart.main([*names, "--folder", str(tmp_path)], system)
    assert not list(tmp_path.iterdir())
