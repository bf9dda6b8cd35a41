"""What people see of a version's lineage and verification."""

import io
import time
from collections.abc import Iterator

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from mlx_hub.cli.tree import show_lineage
from mlx_hub.cli.verify import show_verification
from mlx_hub.registry.v1 import lineage_pb2 as pb
from mlx_hub.registry.v1 import provenance_service_pb2 as provenance_pb
from rich.console import Console

LINEAGE = pb.Lineage(
    model_id=1,
    model_name="triage",
    version=3,
    adapter_digest="a" * 64,
    files=[
        pb.ArtifactFile(name="adapter_config.json", size_bytes=210, sha256="b" * 64),
        pb.ArtifactFile(name="adapters.safetensors", size_bytes=1.2e6, sha256="c" * 64),
    ],
    base_model=pb.BaseModelRef(name="smollm2-135m-instruct", digest="d" * 64),
    dataset=pb.DatasetRef(id=2, name="tickets", digest="e" * 64, train_rows=90, valid_rows=10),
    training=pb.TrainingProvenance(
        job_id=7,
        attempt=3,
        seed=11,
        parameters={"lora_rank": "8", "learning_rate": "0.0001"},
        code_commit="f" * 40,
        code_dirty=True,
        lock_digest="0" * 64,
        environment={"mlx": "0.32.4", "mlx-lm": "0.32.2", "platform": "macOS-15.1-arm64"},
        started_at=Timestamp(seconds=1),
        finished_at=Timestamp(seconds=400),
        attempts=[
            pb.TrainingAttempt(
                number=1,
                started_at=Timestamp(seconds=1),
                ended_at=Timestamp(seconds=100),
                outcome=pb.ATTEMPT_OUTCOME_HANDED_BACK,
                last_step=20,
            ),
            pb.TrainingAttempt(
                number=2,
                started_at=Timestamp(seconds=110),
                ended_at=Timestamp(seconds=120),
                outcome=pb.ATTEMPT_OUTCOME_LOST,
            ),
            pb.TrainingAttempt(
                number=3,
                started_at=Timestamp(seconds=130),
                ended_at=Timestamp(seconds=400),
                outcome=pb.ATTEMPT_OUTCOME_FINISHED,
                resumed_from_step=20,
                last_step=60,
            ),
        ],
    ),
    created_at=Timestamp(seconds=401),
)

TREE = f"""\
triage:3  1970-01-01 00:06:41
├── adapter  {"a" * 64}
│   ├── adapter_config.json  210 B  bbbbbbbbbbbb
│   └── adapters.safetensors  1.2 MB  cccccccccccc
├── base model smollm2-135m-instruct  {"d" * 64}
├── dataset tickets  {"e" * 64}
│   └── split  90 rows trained, 10 held out
└── job 7, attempt 3, seed 11  1970-01-01 00:00:01 to 1970-01-01 00:06:40
    ├── attempts
    │   ├── 1  handed back  1970-01-01 00:00:01 to 1970-01-01 00:01:40  last step 20
    │   ├── 2  lost  1970-01-01 00:01:50 to 1970-01-01 00:02:00  no step
    │   └── 3  finished  1970-01-01 00:02:10 to 1970-01-01 00:06:40  resumed from step 20, \
last step 60
    ├── code  {"f" * 40} with uncommitted changes
    ├── requirements.lock  {"0" * 64}
    ├── parameters
    │   ├── learning_rate  0.0001
    │   └── lora_rank      8
    └── environment
        ├── mlx       0.32.4
        ├── mlx-lm    0.32.2
        └── platform  macOS-15.1-arm64"""
CHECKS = """\
✓ ok     manifest.json         aaaaaaaaaaaa
✗ WRONG  adapters.safetensors  cccccccccccc  expected bbbbbbbbbbbb: not what was recorded
✗ WRONG  dataset tickets       nothing       expected dddddddddddd: missing or unreadable
✓ ok     signature             unknown key
triage:3 is NOT intact: 2 of 4 checks are wrong; signature: unknown key (key 999999999999)"""


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Print times in one zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=110, markup=False, highlight=False, emoji=False)


def printed(ui: Console) -> str:
    assert isinstance(ui.file, io.StringIO)
    return "\n".join(line.rstrip() for line in ui.file.getvalue().splitlines())


def test_a_lineage_is_a_tree() -> None:
    ui = plain_console()
    show_lineage(LINEAGE, ui)
    assert printed(ui) == TREE


def test_an_imported_version_s_tree_says_who_vouches_for_its_base() -> None:
    lineage = pb.Lineage()
    lineage.CopyFrom(LINEAGE)
    lineage.ClearField("dataset")
    lineage.ClearField("training")
    origin = lineage.imported
    origin.format, origin.pin, origin.source = pb.ADAPTER_FORMAT_PEFT, pb.BASE_PIN_NONE, "theirs"
    origin.imported_by, origin.stated_base = "kim", "org/tiny"
    origin.imported_at.FromSeconds(500)
    origin.source_files.add(name="adapter_config.json", size_bytes=20, sha256="6" * 64)
    ui = plain_console()
    show_lineage(lineage, ui)
    assert printed(ui).splitlines()[5:] == [
        "└── imported from theirs (PEFT)  1970-01-01 00:08:20  by kim",
        "    ├── NOT pinned: that it was trained on this base model is not known",
        "    ├── its files name the base model org/tiny",
        "    ├── files",
        "    │   └── adapter_config.json  20 B  666666666666",
        "    └── environment",
    ]


def test_the_split_is_told_as_far_as_it_was_recorded() -> None:
    lineage = pb.Lineage()
    lineage.CopyFrom(LINEAGE)
    data = lineage.dataset
    data.test_rows, data.split_seed = 5, 2**31 - 1
    data.validation_fraction, data.test_fraction = 0.1, 0.05
    ui = plain_console()
    show_lineage(lineage, ui)
    assert (
        "split  90 rows trained, 10 held out, 5 for tests"
        "  (validation 0.1, test 0.05, seed 2147483647)"
    ) in printed(ui)


def test_a_verification_is_a_list_of_checks_in_words() -> None:
    told = provenance_pb.Verification(
        model_name="triage",
        version=3,
        intact=False,
        signature=provenance_pb.SIGNATURE_STATUS_UNKNOWN_KEY,
        key_id="9" * 64,
    )
    told.checks.add(what="manifest.json", expected="a" * 64, found="a" * 64, ok=True)
    told.checks.add(
        what="adapters.safetensors",
        expected="b" * 64,
        found="c" * 64,
        message="not what was recorded",
    )
    told.checks.add(what="dataset tickets", expected="d" * 64, message="missing or unreadable")
    told.checks.add(what="signature", expected="any but invalid", found="unknown key", ok=True)
    ui = plain_console()
    show_verification(told, ui)
    assert printed(ui) == CHECKS


def test_an_intact_version_says_so() -> None:
    told = provenance_pb.Verification(
        model_name="triage",
        version=3,
        intact=True,
        signature=provenance_pb.SIGNATURE_STATUS_UNSIGNED,
    )
    told.checks.add(what="manifest.json", expected="a" * 64, found="a" * 64, ok=True)
    ui = plain_console()
    show_verification(told, ui)
    assert printed(ui).endswith("triage:3 is intact: 1 checks are ok; signature: unsigned")
