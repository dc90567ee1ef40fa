"""The REST interface of TensorFlow Serving: `/v1/models/NAME:predict`, `/metadata`, `/versions/N`.

Source: https://www.tensorflow.org/tfx/serving/api_rest
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from keras_seq.serving.bodies import body_of, fields_of, json_of, while_connected
from keras_seq.serving.requests import Bad, call_item, check_texts
from keras_seq.serving.responses import answered
from keras_seq.serving.tasks_api import current, model_of, note_inputs
from keras_seq.serving.version import Version

FIELDS = ("signature_name", "instances", "inputs")
DTYPES = {"string": "DT_STRING", "float32": "DT_FLOAT", "float64": "DT_DOUBLE", "bool": "DT_BOOL", "float16": "DT_HALF"}
DTYPES |= {"int8": "DT_INT8", "int32": "DT_INT32", "int64": "DT_INT64", "uint8": "DT_UINT8", "bfloat16": "DT_BFLOAT16"}


async def predict(request: Request) -> Response:
    """The outputs of a signature."""
    version, settings = version_of(request), request.app.state.settings
    given = json_of(await body_of(request, settings.max_body))
    fields_of(given, FIELDS)
    signature = given.get("signature_name", "")
    if not isinstance(signature, str):
        raise Bad("`signature_name` must be a text.")
    by_row = "instances" in given
    if by_row == ("inputs" in given):
        raise Bad("The request must have `instances` (a list, row by row) or `inputs` (column by column).")
    columns = _columns(given["instances"]) if by_row else _named(given["inputs"])
    if "" in columns and version.described["reads"] == "text":
        columns["text"] = columns.pop("")
    count = _count(columns)
    if count > settings.max_items:
        raise Bad(f"{count:,} rows are more than a request may have: {settings.max_items:,}", 413)
    if (length := _max_length(columns)) > settings.max_output_tokens:
        raise Bad(f"`max_length` must be at most {settings.max_output_tokens:,}. Received: {length}")
    check_texts(columns, version.described, settings)
    note_inputs(request, count, columns.get("text") if isinstance(columns.get("text"), list) else [])
    item = call_item(signature, columns, version.described)
    (outputs,) = await while_connected(request, version.answer([item]), settings.deadline)
    if isinstance(outputs, BaseException):
        raise outputs
    return answered({"predictions": _rows(outputs, count)} if by_row else {"outputs": _alone(outputs)})


async def status(request: Request) -> Response:
    """The state of a model."""
    version = version_of(request)
    state = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    return answered({"model_version_status": [{"version": str(version.number), **state}]})


async def metadata(request: Request) -> Response:
    """The signatures of a model."""
    version = version_of(request)
    if version.signatures is None:
        asked = version.ask(do="signatures")
        version.signatures = (await while_connected(request, asked, request.app.state.settings.deadline))["signatures"]
    found = {name: _definition(sides) for name, sides in version.signatures.items()}
    spec = {"name": request.path_params["name"], "signature_name": "", "version": str(version.number)}
    return answered({"model_spec": spec, "metadata": {"signature_def": {"signature_def": found}}})


def version_of(request: Request) -> Version:
    """The version that the URL names, by default the current one.

    Raises:
        Bad: if it is not served.
    """
    model = model_of(request)
    version, asked = current(model), request.path_params.get("version")
    if asked is not None and asked != str(version.number):
        raise Bad(f"Version {asked[:20]} of {model.name} is not served. Served is {version.number}.", 404)
    return version


def _columns(instances: Any) -> dict[str, Any]:
    """Rows as columns: lists of values by name, "" for values without a name."""
    if not isinstance(instances, list) or not instances:
        raise Bad("`instances` must be a list of at least one row.")
    rows = [_named(row) for row in instances]
    if any(set(row) != set(rows[0]) for row in rows):
        raise Bad("All `instances` must have the same names.")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _named(value: Any) -> dict[str, Any]:
    named = isinstance(value, dict) and set(value) != {"b64"} and "" not in value
    if named and not value:
        raise Bad("There are no inputs.")
    return dict(value) if named else {"": value}


def _count(columns: dict[str, Any]) -> int:
    return max((len(column) for column in columns.values() if isinstance(column, list)), default=1)


def _max_length(columns: dict[str, Any]) -> float:
    value = columns.get("max_length", 0)
    return value if isinstance(value, int | float) else 0


def _rows(outputs: dict[str, Any], count: int) -> list[Any]:
    if not all(isinstance(column, list) and len(column) == count for column in outputs.values()):
        raise Bad("The outputs of this signature have no rows. Use `inputs` instead of `instances`.")
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    return [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]


def _alone(outputs: dict[str, Any]) -> Any:
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def _definition(sides: dict[str, Any]) -> dict[str, Any]:
    found = {side: {name: _tensor(name, spec) for name, spec in specs.items()} for side, specs in sides.items()}
    return {**found, "method_name": "tensorflow/serving/predict"}


def _tensor(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    shape: dict[str, Any] = {"dim": [], "unknown_rank": spec["shape"] is None}
    shape["dim"] = [{"size": "-1" if size is None else str(size), "name": ""} for size in spec["shape"] or []]
    return {"dtype": DTYPES.get(spec["dtype"], "DT_INVALID"), "tensor_shape": shape, "name": f"{name}:0"}
