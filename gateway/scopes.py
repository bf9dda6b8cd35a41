"""What an API key must be allowed to do for each call: one table, nothing is guessed from names."""

from collections.abc import Mapping

READ = "read"
INFER = "infer"
TRAIN = "train"
ADMIN = "admin"
SCOPES = (READ, INFER, TRAIN, ADMIN)
OPEN = "open"
"""No key is needed: load balancers and supervisors have none, and health tells nothing else."""

_REGISTRY = "mlx_hub.registry.v1."
_TABLE: Mapping[str, Mapping[str, str]] = {
    OPEN: {"mlx_hub.system.v1.SystemService": "GetHealth", "grpc.health.v1.Health": "Check Watch"},
    READ: {
        f"{_REGISTRY}RegistryService": "ListModels GetModel GetModelHistory ListModelVersions "
        "GetModelVersion GetLineage ListBaseModels ResolveModel",
        f"{_REGISTRY}DatasetService": "ListDatasets GetDataset GetDatasetReport",
        f"{_REGISTRY}DownloadService": "ListVersionFiles GetVersionFile GetExportFile "
        "GetDatasetFile",
        f"{_REGISTRY}ProvenanceService": "GetStatement",
        f"{_REGISTRY}QualityService": "ListEvaluations GetEvaluation GetQualityTrend "
        "ListVersionSamples GetPromotionGate",
        f"{_REGISTRY}StorageService": "GetStorageReport",
        "mlx_hub.trainer.v1.TrainerService": "ListTrainingJobs GetTrainingJob WatchTrainingJob "
        "ListTrainingJobLogs TailTrainingJobLogs",
        "mlx_hub.inference.v1.InferenceService": "GetGeneration ListGenerations GetCacheStats "
        "ListEngines",
        "mlx_hub.system.v1.SystemService": "GetMetrics",
        "grpc.reflection.v1alpha.ServerReflection": "ServerReflectionInfo",
        "grpc.reflection.v1.ServerReflection": "ServerReflectionInfo",
    },
    INFER: {
        "mlx_hub.inference.v1.InferenceService": "Generate StreamGenerate",
        # An OpenAI client lists the models that it may ask.
        "mlx_hub.openai.v1.OpenAIService": "ListServedModels GetServedModel "
        "CreateChatCompletion CreateCompletion",
    },
    TRAIN: {
        f"{_REGISTRY}RegistryService": "CreateModel UpdateModel",
        f"{_REGISTRY}DatasetService": "CreateDataset UploadDataset",
        f"{_REGISTRY}ExportService": "ExportVersion",
        f"{_REGISTRY}QualityService": "RecordEvaluation",
        "mlx_hub.trainer.v1.TrainerService": "CreateTrainingJob ForecastTraining "
        "CancelTrainingJob RetryTrainingJob ReplayTrainingJob",
    },
    # What deletes, decides what is served, holds up the machine, or is the services' own talk.
    ADMIN: {
        f"{_REGISTRY}RegistryService": "DeleteModel PromoteVersion RollbackAlias DeleteAlias "
        "ArchiveVersion RestoreVersion PublishVersion",
        f"{_REGISTRY}DatasetService": "DeleteDataset",
        f"{_REGISTRY}ProvenanceService": "VerifyVersion",
        f"{_REGISTRY}QualityService": "SetPromotionGate DeletePromotionGate",
        f"{_REGISTRY}StorageService": "ReconcileStorage",
        f"{_REGISTRY}TrainingRecordService": "RecordTrainingFacts",
        "mlx_hub.inference.v1.InferenceService": "LoadModel UnloadModel ClearCache",
    },
}


def entries() -> tuple[tuple[str, str], ...]:
    """List every rpc of the table, as `package.Service/Method`, with its scope."""
    return tuple(
        (f"{service}/{method}", scope)
        for scope, services in _TABLE.items()
        for service, methods in services.items()
        for method in methods.split()
    )


def of_rpcs() -> dict[str, str]:
    """Give the scope of each rpc by the path that gRPC calls it by."""
    return {f"/{rpc}": scope for rpc, scope in entries()}
