"""Today's model serving, as `ModelVersion.create_service` deploys it: one path per method of the model.

Shapes: Snowflake docs "real-time inference" and the deployment tests of snowflake-ml-python (4159fc6). The
wording of error bodies is not published; only that malformed input is a 400.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route


class ServedModel(Protocol):
    async def predict(self, inputs: list[str]) -> list[Any]: ...

    async def chat(self, messages: list[dict[str, Any]], asked: dict[str, Any]) -> dict[str, Any]: ...

    async def embed(self, texts: list[str], *, query: bool = False) -> list[list[float]]: ...


class BadInputError(Exception):
    """The request does not fit the method's signature: 400."""


@dataclass(frozen=True)
class Param:
    name: str
    types: tuple[type, ...]
    default: Any = None


@dataclass(frozen=True)
class Signature:
    """The columns that a method takes, of which the `optional` may be left out, and its parameters (`params`)."""

    columns: tuple[str, ...]
    params: tuple[Param, ...] = ()
    optional: tuple[str, ...] = ()


NUMBER = (int, float)
# The order matters for flat input. `response_format` came with snowflake-ml-python 1.45.0.
SAMPLING = (
    Param("temperature", NUMBER, 1.0),
    Param("max_completion_tokens", (int,), 250),
    Param("stop", (list,)),
    Param("n", (int,), 1),
    Param("stream", (bool,), False),
    Param("top_p", NUMBER, 1.0),
    Param("frequency_penalty", NUMBER, 0.0),
    Param("presence_penalty", NUMBER, 0.0),
    Param("response_format", (dict,)),
)
# Of transformers' GenerationConfig.
GENERATION = (
    Param("max_new_tokens", (int,)),
    Param("do_sample", (bool,)),
    Param("temperature", NUMBER),
    Param("top_k", (int,)),
    Param("top_p", NUMBER),
)
SAMPLING_COLUMNS = tuple(param.name for param in SAMPLING)

OUTPUT_COLUMNS = ("id", "object", "created", "model", "choices", "usage")


@dataclass(frozen=True)
class Row:
    index: Any
    values: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)


Method = tuple[Signature, Callable[[list[Row], dict[str, Any]], Awaitable[list[dict[str, Any]]]]]


def model_serving_app(
    model: ServedModel,
    *,
    signature: str = "chat",
    content: str = "parts",
    paths: str = "both",
    engine: str = "python",
    input_column: str | None = None,
    output_column: str = "output",
    columns_required: bool = False,
) -> Starlette:
    """Serve a model under one of the signatures that the registry gives.

    `signature`: "chat" (`messages` and `params`), "chat_columns" (sampling as columns, before 1.38), "text"
    (`inputs` to a list of `generated_text`), "text_messages" (1.8.6: the same for `inputs` that are messages) or
    "embedding" (`encode`, `encode_query`, `encode_document` of `sentence`). `input_column`: another name for `inputs`
    or `sentence`. `columns_required`: sampling columns that are left out are a 400.
    `content`: "parts" or "string"; the other one is a type error. `paths`: whether `__call__` is found at
    "dunder" `/__call__`, "dashed" `/--call--` or "both". `engine`: "python" refuses a parameter of the wrong
    type, "vllm" drops it.
    """
    methods = _methods(model, signature, content, input_column, output_column, columns_required)
    routes = [
        Route(path, _handler(method, engine), methods=["POST"])
        for name, method in methods.items()
        for path in _paths(name, paths)
    ]
    return Starlette(routes=routes)


def _paths(name: str, style: str) -> list[str]:
    dashed = f"/{name.replace('_', '-')}"
    if name != "__call__":
        return [dashed]
    return {"dunder": [f"/{name}"], "dashed": [dashed], "both": [f"/{name}", dashed]}[style]


def _handler(method: Method, engine: str) -> Callable[[Request], Awaitable[Response]]:
    signature, call = method

    async def inference(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
        except ValueError:
            return _malformed("the request is not JSON")
        try:
            rows, params = read(body, signature)
            outputs = await call(rows, checked(params, signature, engine))
        except BadInputError as error:
            return _malformed(str(error))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            return PlainTextResponse(f"Prediction failed: {error}", status_code=500)
        data = [[row.index, {**row.extra, **output}] for row, output in zip(rows, outputs)]
        return JSONResponse({"data": data})

    return inference


def _malformed(why: str) -> Response:
    return JSONResponse({"error": f"Input data malformed: {why}"}, status_code=400)


# -- the four shapes of a request ------------------------------------------------------------------


def read(body: Any, signature: Signature) -> tuple[list[Row], dict[str, Any]]:
    """Rows and top-level `params` of a request in any of the four shapes."""
    if not isinstance(body, dict):
        raise BadInputError("the request is not an object")
    params = body.get("params", {})
    if not isinstance(params, dict):
        raise BadInputError("params is not an object")
    extra = body.get("extra_columns") or []
    if "dataframe_split" in body:
        rows = _split(body["dataframe_split"])
    elif "dataframe_records" in body:
        rows = list(enumerate(_list(body["dataframe_records"], "dataframe_records")))
    elif "data" in body:
        rows, given = _data(body["data"], signature)
        params = {**given, **params}
    else:
        raise BadInputError("one of data, dataframe_split, dataframe_records is required")
    return [_row(index, values, signature, extra) for index, values in rows], params


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadInputError(f"{what} is not a list")
    return value


def _split(split: Any) -> list[tuple[Any, dict[str, Any]]]:
    if not isinstance(split, dict) or not {"columns", "data"} <= split.keys():
        raise BadInputError("dataframe_split needs columns and data")
    columns, data = _list(split["columns"], "columns"), _list(split["data"], "data")
    index = split.get("index") or list(range(len(data)))
    if len(index) != len(data) or any(len(_list(row, "a row")) != len(columns) for row in data):
        raise BadInputError("index, columns and data of dataframe_split differ in length")
    return [(i, dict(zip(columns, row))) for i, row in zip(index, data)]


def _data(data: Any, signature: Signature) -> tuple[list[tuple[Any, dict[str, Any]]], dict[str, Any]]:
    """`[[i, {column: value}]]` (wide) or `[[i, value, ...]]` (flat: all columns, then all parameters)."""
    rows: list[tuple[Any, dict[str, Any]]] = []
    params: dict[str, Any] = {}
    names = [*signature.columns, *(param.name for param in signature.params)]
    for row in _list(data, "data"):
        index, *values = _list(row, "a row") or [0]
        if len(values) == 1 and isinstance(values[0], dict):
            rows.append((index, values[0]))
            continue
        if len(values) != len(names):
            raise BadInputError(f"expected {len(names)} values ({', '.join(names)}), got {len(values)}")
        given = dict(zip(names, values))
        rows.append((index, {name: given[name] for name in signature.columns}))
        params = {param.name: given[param.name] for param in signature.params}
    return rows, params


def _row(index: Any, values: Any, signature: Signature, extra: list[str]) -> Row:
    if not isinstance(values, dict):
        raise BadInputError("a row is not an object")
    missing = [name for name in signature.columns if name not in values and name not in signature.optional]
    if missing:
        raise BadInputError(f"column {missing[0]!r} is missing")
    return Row(index, values, {name: values.get(name) for name in extra})


def checked(params: dict[str, Any], signature: Signature, engine: str) -> dict[str, Any]:
    """The parameters with their defaults; unknown ones are dropped in silence."""
    found = {param.name: param.default for param in signature.params}
    for param in signature.params:
        value = params.get(param.name)
        if value is None:
            continue
        boolean_number = isinstance(value, bool) and bool not in param.types
        if isinstance(value, param.types) and not boolean_number:
            found[param.name] = value
        elif engine == "python":
            expected = " or ".join(kind.__name__ for kind in param.types)
            raise BadInputError(f"param {param.name!r} expected {expected}, got {type(value).__name__}")
    return found


# -- the methods -----------------------------------------------------------------------------------


def _methods(
    model: ServedModel,
    signature: str,
    content: str,
    input_column: str | None,
    output_column: str,
    columns_required: bool,
) -> dict[str, Method]:
    if signature == "chat":
        return {"__call__": (Signature(("messages",), SAMPLING), _chat(model, content))}
    if signature == "chat_columns":
        optional = ("response_format",) if columns_required else SAMPLING_COLUMNS
        columns = Signature(("messages", *SAMPLING_COLUMNS), optional=optional)
        return {"__call__": (columns, _chat(model, content))}
    if signature in ("text", "text_messages"):
        column = input_column or "inputs"
        if signature == "text":
            return {"__call__": (Signature((column,), GENERATION), _text(model, column))}
        return {"__call__": (Signature((column,)), _text_of_messages(model, column))}
    if signature == "embedding":
        column = input_column or "sentence"
        encode = Signature((column,), (Param("truncate_dim", (int,)),))
        document = (encode, _encode(model, column, output_column, query=False))
        query = (encode, _encode(model, column, output_column, query=True))
        return {"encode": document, "encode_document": document, "encode_query": query}
    raise ValueError(f"unknown signature {signature!r}")


def _chat(model: ServedModel, content: str) -> Any:
    async def chat(rows: list[Row], params: dict[str, Any]) -> list[dict[str, Any]]:
        for row in rows:
            _check_messages(row.values["messages"], content)
        return list(await asyncio.gather(*(one(row, params) for row in rows)))

    async def one(row: Row, params: dict[str, Any]) -> dict[str, Any]:
        columns = {name: row.values[name] for name in SAMPLING_COLUMNS if row.values.get(name) is not None}
        defaults = {param.name: param.default for param in SAMPLING if param.default is not None}
        asked = {**defaults, **{k: v for k, v in params.items() if v is not None}, **columns}
        completion = await model.chat(row.values["messages"], {**asked, "stream": False})
        return {name: completion[name] for name in OUTPUT_COLUMNS}

    return chat


def _check_messages(messages: Any, content: str, column: str = "messages") -> None:
    wanted = list if content == "parts" else str
    if not isinstance(messages, list):
        raise BadInputError(f"column {column!r} expected list, got {type(messages).__name__}")
    for message in messages:
        if not isinstance(message, dict) or "role" not in message:
            raise BadInputError(f"column {column!r}: a message is no object with a role")
        given = message.get("content")
        if not isinstance(given, wanted):
            raise BadInputError(
                f"column {column!r}: content expected {wanted.__name__}, got {type(given).__name__}"
            )


def _text(model: ServedModel, column: str) -> Any:
    async def text(rows: list[Row], params: dict[str, Any]) -> list[dict[str, Any]]:
        prompts = [row.values[column] for row in rows]
        if not all(isinstance(prompt, str) for prompt in prompts):
            raise BadInputError(f"column {column!r} expected str")
        if params.get("temperature") == 0:  # transformers 4.57, TemperatureLogitsWarper
            raise ValueError("`temperature` (=0) has to be a strictly positive float")
        return _outputs(await model.predict(prompts))

    return text


def _text_of_messages(model: ServedModel, column: str) -> Any:
    async def text(rows: list[Row], params: dict[str, Any]) -> list[dict[str, Any]]:
        for row in rows:
            _check_messages(row.values[column], "string", column)
        return _outputs(await model.predict([row.values[column][-1]["content"] for row in rows]))

    return text


def _outputs(answers: list[Any]) -> list[dict[str, Any]]:
    return [{"outputs": json.loads(answer) if isinstance(answer, str) else answer} for answer in answers]


def _encode(model: ServedModel, input_column: str, output_column: str, *, query: bool) -> Any:
    async def encode(rows: list[Row], params: dict[str, Any]) -> list[dict[str, Any]]:
        texts = [row.values[input_column] for row in rows]
        if not all(isinstance(text, str) for text in texts):
            raise BadInputError(f"column {input_column!r} expected str")
        vectors = await model.embed(texts, query=query)
        return [{output_column: vector[: params.get("truncate_dim")]} for vector in vectors]

    return encode
