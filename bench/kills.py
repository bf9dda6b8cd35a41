"""SIGKILL the processes of training at random points, as often as asked; `--kills 200`."""

import argparse
import sys

import pytest


def main() -> int:
    """Run the test of tests/faults by another number; it prints one line and fails loudly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how many; default 200")
    kills = parser.parse_args().kills
    return int(pytest.main(["tests/faults/test_kills.py", f"--kills={kills}"]))


if __name__ == "__main__":
    sys.exit(main())
