"""What a replay is compared with: the version's record in the registry, the losses in the log."""

from mlx_hub.registry.v1 import lineage_pb2

from services.chassis.errors import FailedPrecondition
from services.trainer import messages
from services.trainer.domain import TrainingJob
from services.trainer.provenance import Code
from services.trainer.registry import Inputs, Registry
from services.trainer.replay import BASE, DATASET, RECIPE, Run, changed_inputs
from services.trainer.store import JobStore


class Originals:
    """Finds completed jobs as they were."""

    def __init__(self, store: JobStore, registry: Registry) -> None:
        """Take the two places where a job is recorded."""
        self._store = store
        self._registry = registry

    async def check(self, job: TrainingJob) -> None:
        """Raise unless the version's record, the base model and the data are still there."""
        inputs = await self._registry.inputs(job.model_id, job.dataset_id)
        await self._record(job, inputs)

    async def find(self, job_id: int, inputs: Inputs) -> Run:
        """Give a completed job's run; raise if it can't be repeated on these files."""
        job = await self._store.get(job_id)
        lineage = await self._record(job, inputs)
        return Run(
            losses=await self._store.losses(job_id),
            total=job.progress.total_steps,
            digest=lineage.adapter_digest,
            files={file.name: file.sha256 for file in lineage.files},
            facts=_recorded(lineage),
        )

    async def _record(self, job: TrainingJob, inputs: Inputs) -> lineage_pb2.Lineage:
        lineage = await self._registry.lineage(job.model_id, job.version or 0)
        if changed := changed_inputs(_recorded(lineage), _files(inputs)):
            what = " and ".join(changed)
            raise FailedPrecondition(
                "REPLAY_INPUTS_CHANGED",
                f"the {what} of job {job.id} changed since it trained; "
                f"bring back what version {job.version} was made from",
                metadata={"job_id": str(job.id), "changed": ", ".join(changed)},
            )
        return lineage


def facts(
    job: TrainingJob, inputs: Inputs, code: Code, environment: dict[str, str]
) -> dict[str, str]:
    """Name everything that may explain a difference, as it is now."""
    parameters = messages.parameters(messages.job_to_proto(job))
    return {
        **environment,
        **_files(inputs),
        **_code(code.commit, code.dirty, code.lock_digest),
        **{RECIPE + name: value for name, value in parameters.items()},
    }


def _recorded(lineage: lineage_pb2.Lineage) -> dict[str, str]:
    training = lineage.training
    return {
        **training.environment,
        **_code(training.code_commit, training.code_dirty, training.lock_digest),
        BASE: lineage.base_model.digest,
        DATASET: lineage.dataset.digest,
        **{RECIPE + name: value for name, value in training.parameters.items()},
    }


def _files(inputs: Inputs) -> dict[str, str]:
    return {BASE: inputs.base_digest, DATASET: inputs.dataset_digest}


def _code(commit: str, dirty: bool, lock: str) -> dict[str, str]:
    return {"code_commit": commit, "code_dirty": str(dirty).lower(), "lock_digest": lock}
