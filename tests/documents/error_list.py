"""The errors that the plugin can raise, read from its source, and the page that lists them.

    make documents      writes docs/errors.md

An error is a call of a class of `errors.py`, or of one of the functions below that make one of a message, or of a
function of the same module that does. The class may be one that the function has just chosen, or one that always says
the same, and the message may be in a variable. Values that are put into a message when it is raised stand as an
ellipsis.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from spcs_llm import errors
from spcs_llm.protocols.reply_errors import unexpected_reply
from spcs_llm.settings import LABELS

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "python-lib" / "spcs_llm"
PAGE = ROOT / "docs" / "errors.md"

MEANINGS = {
    "settings": "The model's settings in the DSS connection, or its presets, which a DSS administrator can correct; or"
    " the fields of a macro, the recipe or the webapp, which whoever filled them in can correct.",
    "query": "What the query asks. Whoever wrote the prompt or the program can change it.",
    "login": "Signing in to Snowflake.",
    "network": "The way from DSS to Snowflake. Usually a matter for DSS administrators and network teams.",
    "ingress": "Snowflake's gateway in front of the service. Usually a matter for Snowflake administrators.",
    "service": "The container with the model server. Usually a matter for whoever deployed it.",
    "model": "The model answered, but not with an answer that can be used.",
    "SQL": "A statement of a macro, the recipe or the webapp. Usually a matter of privileges, which a Snowflake"
    " administrator can grant.",
    "macro": "A macro that did not do all that it was asked to. The message names what failed and who can help.",
    "webapp": "A request of the webapp *Model services*. The page shows these messages without the brackets.",
    "plugin": "The plugin itself.",
}
_MESSAGE = "\0message"  # stands for one that a function is given


class Known(NamedTuple):
    place: str
    message: str
    hint: str


@functools.cache
def known_errors() -> tuple[Known, ...]:
    """The errors of the library, by place and message, each once."""
    found = {known for path in sorted(LIBRARY.rglob("*.py")) for known in _errors_in(path)}
    helped = {known[:2] for known in found if known.hint}
    found = {known for known in found if known.hint or known[:2] not in helped}
    return tuple(
        sorted(found, key=lambda known: (list(MEANINGS).index(known.place), known.message, known.hint))
    )


class Maker(NamedTuple):
    """A function that makes an error of a message that it is given."""

    position: int
    error: ast.Call
    names: Mapping[str, object]


def _errors_in(path: Path) -> Iterator[Known]:
    source = path.relative_to(LIBRARY.parent).with_suffix("")
    module = importlib.import_module(".".join(source.parts).removesuffix(".__init__"))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    makers = _makers(functions, vars(module))
    for scope in (tree, *functions):
        names = {**vars(module), **_chosen_classes(scope, vars(module))}
        for node in ast.walk(scope):
            if isinstance(node, ast.Call):
                for local in _with_each_text(node, scope, names):
                    known = _error_in(node, local) or _made_error(node, local, makers)
                    if known is not None:
                        yield known
    for scope in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        yield from _own_words(vars(module).get(scope.name), scope, vars(module))


def _with_each_text(
    node: ast.Call, scope: ast.AST, names: Mapping[str, object]
) -> Iterator[Mapping[str, object]]:
    """The names, with each text in turn that a function's variable may have which is the call's message."""
    name = node.args[0].id if node.args and isinstance(node.args[0], ast.Name) else None
    texts = _assigned(name, node, scope, names) if isinstance(scope, ast.FunctionDef) and name else []
    yield from ({**names, str(name): text} for text in texts) if texts else (names,)


def _assigned(name: str, call: ast.Call, scope: ast.FunctionDef, names: Mapping[str, object]) -> list[str]:
    """The texts that a variable may have at a call: the last one that it was given, and those of branches since."""
    statements = [node for node in ast.walk(scope) if isinstance(node, ast.stmt)]
    around = [each for each in statements if each.lineno <= call.lineno <= (each.end_lineno or 0)]
    indent = max((each.col_offset for each in around), default=0)
    given = [
        each
        for each in statements
        if isinstance(each, ast.Assign) and each.lineno < call.lineno and ast.unparse(each.targets[0]) == name
    ]
    texts = []
    for each in sorted(given, key=lambda each: -each.lineno):
        text = _text(each.value, {**names, name: None})
        if text is None or name in {ast.unparse(inner) for inner in ast.walk(each.value)}:
            continue
        texts.append(text)
        if each.col_offset <= indent:
            break
    return texts


def _makers(functions: list[ast.FunctionDef], names: Mapping[str, object]) -> dict[str, Maker]:
    makers: dict[str, Maker] = {}
    for function in functions:
        parameters = [each.arg for each in function.args.args if each.arg != "self"]
        local = {**names, **_chosen_classes(function, names), **dict.fromkeys(parameters, _MESSAGE)}
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Call)
                and node.args
                and isinstance(node.args[0], ast.Name)
                and node.args[0].id in parameters
                and _error_in(node, local) is not None
            ):
                makers[function.name] = Maker(parameters.index(node.args[0].id), node, local)
    return makers


def _made_error(node: ast.Call, names: Mapping[str, object], makers: Mapping[str, Maker]) -> Known | None:
    called = _called(node)
    maker = makers.get(called)
    if maker is None or len(node.args) <= maker.position:
        return None
    message = _text(node.args[maker.position], names)
    made = _error_in(maker.error, maker.names)
    if made is None or not (message or "").strip(" …."):
        return None
    return made._replace(message=made.message.replace(_MESSAGE, str(message)))


def _own_words(kind: object, scope: ast.ClassDef, names: Mapping[str, object]) -> Iterator[Known]:
    """What an error says whose class has the words, and hands them to the class that it derives from."""
    if not _is_error(kind):
        return
    for node in ast.walk(scope):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) == "super().__init__"
            and len(node.args) == 2
        ):
            message = _text(node.args[0], names)
            if message is not None:
                yield Known(str(getattr(kind, "place", "")), message, _hints(node.args[1], names))


def _chosen_classes(scope: ast.AST, names: Mapping[str, object]) -> dict[str, object]:
    """The classes that a function keeps in variables: by name, one of two, or as another function's result says."""
    if not isinstance(scope, ast.FunctionDef):
        return {}
    chosen: dict[str, object] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value.body if isinstance(node.value, ast.IfExp) else node.value
            if isinstance(value, ast.Name):
                chosen[node.targets[0].id] = names.get(value.id)
            elif isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
                result = getattr(names.get(value.func.id), "__annotations__", {}).get("return", "")
                found = re.fullmatch(r"type\[(\w+)\]", str(result))
                chosen[node.targets[0].id] = names.get(found[1]) if found else None
    return {name: value for name, value in chosen.items() if _is_error(value)}


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, errors.SpcsError)


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else str(getattr(node.func, "attr", ""))


def _error_in(node: ast.Call, names: Mapping[str, object]) -> Known | None:
    called = _called(node)
    texts = [_text(argument, names) for argument in node.args]
    if called == "error" and len(texts) == 3 and isinstance(node.args[0], ast.Name):
        return _told_error(names.get(node.args[0].id), texts[1], _hints(node.args[2], names))
    if called in ("complain", "_complain") and len(texts) == 2:
        label = texts[0] or "…"
        return Known("settings", f"'{LABELS.get(label, label)}' {texts[1] or '…'}.", "")
    if called in ("UrlError", "Unfit"):
        return Known("settings", f"'…' {texts[0] or '…'}.", "")
    if called == "TemplateError":
        return Known("settings", f"'Chat template' cannot be used: {texts[0] or '…'}.", "")
    if called in ("unexpected_reply", "useless") and texts and texts[0]:
        error = unexpected_reply("")
        return Known(error.place, texts[0], error.hint)
    kind = names.get(called)
    if not _is_error(kind) or not texts or not (texts[0] or "").strip(" …."):
        return None
    place = str(getattr(kind, "place", ""))
    for keyword in node.keywords:
        if keyword.arg == "place" and isinstance(keyword.value, ast.Constant):
            place = str(keyword.value.value)
    return Known(place, texts[0] or "", _hints(node.args[1], names) if len(texts) > 1 else "")


def _hints(node: ast.expr, names: Mapping[str, object]) -> str:
    """What to do, or all that it may be where the code chooses."""
    nodes = [node]
    if isinstance(node, ast.IfExp):
        nodes = [node.body, node.orelse]
    elif isinstance(node, ast.BoolOp):
        nodes = node.values
    texts = [(_text(each, names) or "").strip() for each in nodes]
    return " Or: ".join(dict.fromkeys(text for text in texts if text))


def _told_error(kind: object, what: str | None, hint: str) -> Known | None:
    """What is made of a reply of the gateway or the container, by the method that adds its status and its reason."""
    if not _is_error(kind) or not (what or "").strip(" …."):
        return None
    return Known(str(getattr(kind, "place", "")), f"{what} (HTTP …): ….", hint)


def _text(node: ast.expr, names: Mapping[str, object]) -> str | None:
    """The text of a literal or a constant, with an ellipsis for each value; None for what is neither."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.Name):
        value = names.get(node.id)
        return value if isinstance(value, str) else None
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, names)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, names) or "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return f"{_text(node.left, names) or '…'}{_text(node.right, names) or '…'}"
    if isinstance(node, ast.IfExp):
        return _text(node.body, names)
    return None


def page() -> str:
    lines = [
        "# Errors",
        "",
        "Every error message of the plugin begins with its origin in brackets. This page lists the messages by",
        "origin, with what to do about each. An ellipsis stands for a value, such as a host, a status or a name.",
        "Where a service gives a reason of its own, the message quotes it.",
        "",
        "The page is generated from the source by `make documents`.",
    ]
    place = ""
    for known in known_errors():
        if known.place != place:
            place = known.place
            lines += [
                "",
                f"## [{place}]",
                "",
                MEANINGS[place],
                "",
                "| Message | What to do |",
                "| --- | --- |",
            ]
        lines.append(f"| {_cell(known.message)} | {_cell(known.hint)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return re.sub("…+", "…", " ".join(text.split())).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
