"""`mlx-hub why` and `mlx-hub generations`: past answers and where they came from."""

from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer
from mlx_hub.cli.complete import model_names
from mlx_hub.cli.output import JsonOption, console, emit, literal, moment, plain, show_list
from mlx_hub.cli.session import find_model, hub, split_version
from mlx_hub.cli.tree import base_line, lineage_tree
from mlx_hub.client import Hub
from mlx_hub.inference.v1.completion_pb2 import FinishReason
from mlx_hub.inference.v1.generation_pb2 import GenerateRequest
from mlx_hub.inference.v1.generation_record_pb2 import GenerationOutcome, GenerationRecord
from rich.console import Console
from rich.tree import Tree

# What is told elsewhere in the tree.
_NOT_SAMPLING = ("model_id", "version")


class Ending(StrEnum):
    """The outcomes a list can be narrowed to."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


def why(
    ctx: typer.Context,
    generation: Annotated[
        str, typer.Argument(help="`generation_id` of an answer, or `id` of an OpenAI response.")
    ],
    json: JsonOption = False,
) -> None:
    """Trace an answer: its sampling and end, its version, job, data, code and base model."""
    found = hub(ctx).generations.get(generation)
    if json:
        emit(plain(found))
    else:
        show_generation(found)


def generations(
    ctx: typer.Context,
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=model_names,
            metavar="[MODEL[:VERSION]]",
            help="Only its answers; `NAME:base` too.",
        ),
    ] = "",
    *,
    outcome: Annotated[Ending | None, typer.Option(help="Only those that ended so.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    json: JsonOption = False,
) -> None:
    """List past answers, newest first."""
    here = hub(ctx)
    name, version = split_version(model)
    # Numbers are not looked up: also what was deleted may be asked for.
    model_id = int(name) if name.isdecimal() else find_model(here, name).id if name else 0
    number = _number(here, model_id, version) if version else None
    listed = here.generations.list(
        model_id=model_id,
        version=number,
        outcome=outcome.value if outcome else "unspecified",
        page_size=min(limit, 1000),
    )
    show_list(
        islice(listed, limit),
        json,
        {
            "GENERATION": lambda record: record.generation_id,
            "MODEL": _version,
            "ENDED": _ending,
            "TOKENS": lambda record: record.tokens,
            "SECONDS": lambda record: f"{record.latency_ms / 1000:.2f}",
            "STARTED": lambda record: moment(record.started_at),
        },
    )


def show_generation(record: GenerationRecord, ui: Console | None = None) -> None:
    """Print where an answer came from, as a tree."""
    tree = Tree(
        literal(
            f"generation {record.generation_id}  {moment(record.started_at)}  {_ending(record)}"
        )
    )
    cached = f", {record.cached_tokens} of them cached" if record.cached_tokens else ""
    counted = f"{record.prompt_tokens} tokens{cached}, " if record.prompt_tokens else ""
    tree.add(literal(f"asked  {counted}{record.prompt_bytes} bytes, sha256 {record.prompt_digest}"))
    sent = f"{record.tokens} tokens, {record.text_bytes} bytes"
    tree.add(literal(f"answered  {sent}, sha256 {record.text_digest}"))
    if record.HasField("ended_at"):
        tree.add(literal(f"time  {_times(record)}"))
    tree.add(literal(f"sampling  {_sampling(record.request)}"))
    if bits := record.provenance.kv_bits:
        tree.add(literal(f"keys and values  in {bits} bits"))
    if record.drafted_tokens:
        tree.add(literal(f"drafted  {_drafts(record)}"))
    if window := record.provenance.max_kv_size:
        tree.add(literal(f"keys and values  of the last {window} tokens"))
    if record.provenance.version:
        tree.children.append(lineage_tree(record.lineage))
    else:
        model = tree.add(literal(_version(record)))
        model.add(literal(base_line(record.lineage.base_model)))
    (ui or console()).print(tree)


def _number(here: Hub, model_id: int, version: str) -> int:
    if version == "base":
        return 0
    return int(version) if version.isdecimal() else here.models.version(model_id, version).version


def _version(record: GenerationRecord) -> str:
    source = record.provenance
    return f"{source.model_name}:{source.version or 'base'}"


def _ending(record: GenerationRecord) -> str:
    outcome = GenerationOutcome.Name(record.outcome).removeprefix("GENERATION_OUTCOME_").lower()
    if record.finish_reason:
        how = FinishReason.Name(record.finish_reason).removeprefix("FINISH_REASON_").lower()
        return f"{outcome} ({how})"
    return f"{outcome} ({record.error_reason})" if record.error_reason else outcome


def _times(record: GenerationRecord) -> str:
    whole = f"{record.latency_ms / 1000:.3f} s in all"
    if not record.ttft_ms:
        return whole
    engine = f" (the engine's {record.engine_ttft_ms / 1000:.3f} s)" * bool(record.engine_ttft_ms)
    return f"first text after {record.ttft_ms / 1000:.3f} s{engine}, {whole}"


def _drafts(record: GenerationRecord) -> str:
    taken = f"{record.drafted_tokens} tokens, {record.accepted_tokens} of them taken"
    model = record.provenance.draft_model
    return f"{taken}; some by {model}" if model else f"{taken}, all from the text itself"


def _sampling(request: GenerateRequest) -> str:
    """Say every setting as it was used, in the words of the request."""
    told = {field.name: value for field, value in request.ListFields()}
    shown = [f"{name} {_value(v)}" for name, v in told.items() if name not in _NOT_SAMPLING]
    return ", ".join(shown)


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)
