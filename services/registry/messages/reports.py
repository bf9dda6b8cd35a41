"""What a report is asked with on the wire."""

from mlx_hub.registry.v1 import dataset_report_pb2 as report_pb
from mlx_hub.registry.v1 import dataset_service_pb2 as pb

from services.registry.domain import Dataset, DatasetSchema
from services.runtime.rows import masks_prompt

# A training job's.
DEFAULTS = report_pb.ReportParameters(max_seq_length=512, batch_size=4, validation_fraction=0.1)


def report_parameters(
    request: pb.GetDatasetReportRequest, dataset: Dataset
) -> report_pb.ReportParameters:
    """Fill the defaults in; refuse to mask the prompts of rows that have none."""
    parameters = report_pb.ReportParameters()
    parameters.CopyFrom(DEFAULTS)
    for field, value in request.ListFields():
        if field.name in parameters.DESCRIPTOR.fields_by_name:
            setattr(parameters, field.name, value)
    asked = request.mask_prompt if request.HasField("mask_prompt") else None
    parameters.mask_prompt = masks_prompt(asked, is_text=dataset.schema is DatasetSchema.TEXT)
    return parameters
