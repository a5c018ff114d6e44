"""Jinja as chat templates are written in it: the plugin's own, and those that somebody pasted into a form.

What a template finds here is what Hugging Face gives one (transformers 4.57, utils/chat_template_utils.py):
`trim_blocks`, `lstrip_blocks`, loop controls, the `generation` tag, `raise_exception`, `strftime_now`, and `tojson`
without escapes. A name that nobody defined is an error where it is written out or looped over, not an empty text.
Templates of a form run in Jinja's sandbox, and beyond that their loops, calls, output and what an expression makes are
bounded. That triples the time that a rendering takes, so the plugin's own templates are spared it.
"""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing
from jinja2.visitor import NodeTransformer

from spcs_llm.chat_templates.bounds import (
    WITHOUT,
    Budget,
    bounded_call,
    bounded_filter,
    bounded_operation,
    tojson,
    written_length,
)
from spcs_llm.chat_templates.template_error import TemplateError

_MAX_CHARACTERS = 20_000_000
_MAX_SOURCE = 100_000  # characters of a template: the longest published ones have a fifth
_MAX_FREE = 10_000  # characters of a text that is put together without being charged
_MAX_DATE = 200  # characters of a format of dates
_BUDGET = Budget()
# Before version 3, Jinja writes the tracebacks that tell a template's lines in a way that ended with Python 3.9.
TELLS_LINES = not (jinja2.__version__.startswith("2.") and sys.version_info >= (3, 10))


def compiled(source: str, *, trusted: bool = False) -> jinja2.Template:
    """Compiles a chat template.

    Args:
        source: The template, of at most 100,000 characters.
        trusted: Whether it comes with the plugin, so that neither sandbox nor bounds are needed.

    Returns:
        The template, which is in the sandbox unless it is trusted.

    Raises:
        TemplateError: If it does not compile. The error names the line, where there is one.
    """
    if len(source) > _MAX_SOURCE:
        raise TemplateError(f"it is longer than {_MAX_SOURCE:,} characters")
    try:
        if trusted:
            return _trusted_environment().from_string(source)
        with _BUDGET.of_one_rendering():
            return _environment().from_string(source)
    except TemplateError:
        raise
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{error.message} (line {error.lineno})") from None
    except Exception as error:  # noqa: BLE001 - the parser and compiler may run out of depth or digits
        raise TemplateError(f"it cannot be compiled ({type(error).__name__})") from None


def rendered(template: jinja2.Template, variables: Mapping[str, Any]) -> str:
    """Renders a chat template.

    Args:
        template: The template, as `compiled` gives it.
        variables: What it may use, by name.

    Returns:
        The text; of a template in the sandbox, of at most 20 million characters.

    Raises:
        TemplateError: If it fails, refuses or costs too much. The error may quote `variables`.
    """
    pieces = []
    length = 0
    try:
        if not template.environment.sandboxed:
            return template.render(variables)
        with _BUDGET.of_one_rendering():
            for piece in template.generate(variables):
                pieces.append(piece)
                length += len(piece)
                if length > _MAX_CHARACTERS:
                    raise TemplateError(f"it writes more than {_MAX_CHARACTERS:,} characters")
    except Exception as error:  # noqa: BLE001 - a template may fail in any way
        raise _template_error(error) from None
    return "".join(pieces)


def top_level_variables(template: jinja2.Template, variables: Mapping[str, Any]) -> Any:
    """Reads what a chat template sets outside of blocks and loops.

    Args:
        template: The template, as `compiled` gives it.
        variables: What it may use, by name.

    Returns:
        An object that has what the template sets as attributes.

    Raises:
        TemplateError: If it fails, refuses or costs too much. The error may quote `variables`.
    """
    try:
        with _BUDGET.of_one_rendering():
            return template.make_module(dict(variables))
    except Exception as error:  # noqa: BLE001
        raise _template_error(error) from None


def _template_error(error: Exception) -> TemplateError:
    if isinstance(error, TemplateError):
        return error
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"
    ]
    where = f" (line {lines[-1]})" if lines and TELLS_LINES else ""
    if isinstance(error, SecurityError):
        return TemplateError(f"it does what Jinja's sandbox forbids{where}: {error}")
    if isinstance(error, jinja2.UndefinedError):
        return TemplateError(f"it uses something that is not there{where}: {error}")
    if isinstance(error, jinja2.TemplateError):
        return TemplateError(f"it fails{where}: {error}")
    return TemplateError(f"it fails with a {type(error).__name__}{where}")


class _Undefined(jinja2.Undefined):
    """Unknown names may be tested, and nothing else; a missing key of a message is an empty text, as in Jinja."""

    def __str__(self) -> str:
        return "" if self._is_missing_key() else self._fail_with_undefined_error()

    def __iter__(self) -> Any:
        return iter(()) if self._is_missing_key() else self._fail_with_undefined_error()

    def _is_missing_key(self) -> bool:
        forbidden = self._undefined_exception is not jinja2.UndefinedError
        return self._undefined_obj is not missing and not forbidden


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks answers for training; the text in it is text like any other."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Environment(ImmutableSandboxedEnvironment):
    """Rounds of loops, calls and results are charged to the rendering. No name of a template's own reaches that."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        # What most templates do, and what costs nothing: how often it is done is bounded by the rounds of loops.
        if operator == "+" and type(left) is type(right) is str and len(left) + len(right) < _MAX_FREE:
            return left + right
        return bounded_operation(_BUDGET, operator, left, right, super().call_binop, context)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as Jinja has it
        made = super().call
        return bounded_call(_BUDGET, __obj, functools.partial(made, __context, __obj), args, kwargs)

    def rounds_of_loop(self, items: Iterable[Any]) -> list[Any]:
        return _BUDGET.counted(items)

    def made(self, value: Any) -> Any:
        return _BUDGET.charged(value)

    def contains(self, items: Any, item: Any) -> bool:
        if isinstance(item, str):
            _BUDGET.search(items, item)
        return item in items

    def joined_text(self, *values: Any) -> str:
        if not all(type(value) is str for value in values):
            _BUDGET.allow("", written_length(values))
        texts = [str(value) for value in values]
        _BUDGET.allow("", sum(map(len, texts)))
        return str(_BUDGET.charged("".join(texts)))

    def _parse(self, *args: Any) -> nodes.Template:
        tree = super()._parse(*args)
        _Bounding(self).visit(tree)
        return tree


class _Bounding(NodeTransformer):
    """Has what costs something in a template, and Jinja does not intercept, pass through the environment.

    These are loops, the operators `~` and `in`, and lists, tuples and objects that are written out.
    """

    def __init__(self, environment: jinja2.Environment) -> None:
        self._environment = environment

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - by the name of the node
        self.generic_visit(node)
        node.iter = self._call("rounds_of_loop", [node.iter], node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._call("joined_text", list(node.nodes), node.lineno)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._call("made", [node], node.lineno)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._call("made", [node], node.lineno)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._call("made", [node], node.lineno) if node.ctx == "load" else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        """Of `a in b`; of several comparisons in a row, where an operand would be read twice, `in` is none."""
        self.generic_visit(node)
        if not any(operand.op in ("in", "notin") for operand in node.ops):
            return node
        if len(node.ops) > 1:
            raise TemplateError(
                f"it compares with 'in' and another operator without brackets (line {node.lineno})"
            )
        contains = self._call("contains", [node.ops[0].expr, node.expr], node.lineno)
        return contains if node.ops[0].op == "in" else nodes.Not(contains, lineno=node.lineno)

    def _call(self, method: str, values: list[Any], line: int) -> nodes.Call:
        function = nodes.EnvironmentAttribute(method, lineno=line, environment=self._environment)
        return nodes.Call(function, values, [], None, None, lineno=line, environment=self._environment)


_SYNTAX: dict[str, Any] = {
    "trim_blocks": True,
    "lstrip_blocks": True,
    "extensions": ["jinja2.ext.loopcontrols", _Generation],
    "undefined": _Undefined,
}


@functools.lru_cache(maxsize=1)
def _trusted_environment() -> jinja2.Environment:
    environment = jinja2.Environment(**_SYNTAX)  # noqa: S701 - prompts are not HTML
    environment.globals["raise_exception"] = _raise_exception
    return environment


@functools.lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = _Environment(**_SYNTAX, optimized=False, finalize=_BUDGET.charged)
    # `attr` of Jinja before 3.1.6 hands out `str.format` unguarded.
    environment.filters["attr"] = lambda value, name: environment.getattr(value, str(name))
    environment.filters["tojson"] = tojson
    environment.filters = {
        name: bounded_filter(_BUDGET, name, function)
        for name, function in environment.filters.items()
        if name not in WITHOUT
    }
    environment.tests["in"] = lambda value, items: environment.contains(items, value)
    environment.globals.pop("lipsum", None)
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(str(form)[:_MAX_DATE])
    return environment


def _raise_exception(message: object) -> str:
    raise TemplateError(f"it says: {str(message)[:500]}")
