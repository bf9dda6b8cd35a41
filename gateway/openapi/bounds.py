"""What the admin UI's forms may hold: bounds, defaults and words of some requests' fields.

Run as `python -m gateway.openapi.bounds`, by `make client-types`; prints JSON.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMS = ("CreateTrainingJobRequest", "GenerateRequest", "Choice", "Tool")
_KEPT = (
    "type",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "default",
    "enum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "additionalProperties",
    "description",
)


def bounds(document: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Give each form's fields with what the OpenAPI document says of them.

    An enum's unspecified value is left out: a form leaves the field out instead.
    """
    schemas = document["components"]["schemas"]
    return {
        form: {name: _bound(field, schemas) for name, field in schemas[form]["properties"].items()}
        for form in FORMS
    }


def _bound(field: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: field[key] for key in _KEPT if key in field}
    values = schemas.get(field.get("$ref", "").rpartition("/")[2], {}).get("enum", [])
    named = [value for value in values if not value.endswith("_UNSPECIFIED")]
    return {**found, "enum": named} if named else found


if __name__ == "__main__":
    json.dump(bounds(json.loads(Path("gateway/openapi.json").read_text())), sys.stdout, indent=1)
    sys.stdout.write("\n")
