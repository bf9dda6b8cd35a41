"""Generate the Python stubs from proto/ into a folder (default client/)."""

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


def generate(out: Path) -> int:
    """Write *_pb2.py, *_pb2.pyi, *_pb2_grpc.py and *_pb2_grpc.pyi under `out`."""
    proto = ROOT / "proto"
    own = sorted(str(p) for p in proto.glob("mlx_hub/**/*.proto"))
    validate = str(proto / "buf/validate/validate.proto")
    well_known = str(Path(protoc.__file__).parent / "_proto")
    common = [f"-I{proto}", f"-I{well_known}", f"--python_out={out}", f"--mypy_out=quiet:{out}"]
    if code := protoc.main(["protoc", *common, validate, *own]):
        return int(code)
    services = [p for p in own if p.endswith("_service.proto")]
    grpc = [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet,only_async:{out}"]
    return int(protoc.main(["protoc", *common[:2], *grpc, *services]))


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "client"
    target.mkdir(parents=True, exist_ok=True)
    raise SystemExit(generate(target))
