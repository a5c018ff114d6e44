"""Jinja as chat templates are written in it, for templates that somebody pasted into a form.

What a template finds here is what Hugging Face gives one (transformers 4.57, utils/chat_template_utils.py):
`trim_blocks`, `lstrip_blocks`, loop controls, the `generation` tag, `raise_exception`, `strftime_now`, and `tojson`
without escapes. Beyond Jinja's own sandbox, loops and output are bounded, and a name that nobody defined is an error
where it is written out or looped over, not an empty text.
"""

from __future__ import annotations

import functools
import json
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

from spcs_llm.chat_templates.template_error import TemplateError

_MAX_ROUNDS = 1_000_000  # of all loops of one rendering
_MAX_CHARACTERS = 50_000_000
_LOOP_COUNTER = "count_rounds_of_loop"
# Before version 3, Jinja writes the tracebacks that tell a template's lines in a way that ended with Python 3.9.
TELLS_LINES = not (jinja2.__version__.startswith("2.") and sys.version_info >= (3, 10))


def compiled(source: str) -> jinja2.Template:
    """Raises TemplateError, with the line where there is one."""
    try:
        return _environment().from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{error.message} (line {error.lineno})") from None
    except Exception as error:  # noqa: BLE001 - the parser and compiler may run out of depth or digits
        raise TemplateError(f"it cannot be compiled ({type(error).__name__})") from None


def rendered(template: jinja2.Template, variables: Mapping[str, Any]) -> str:
    """Raises TemplateError, whose text may quote `variables`."""
    pieces = []
    length = 0
    try:
        for piece in template.generate(variables, **{_LOOP_COUNTER: _round_counter()}):
            pieces.append(piece)
            length += len(piece)
            if length > _MAX_CHARACTERS:
                raise TemplateError(f"it writes more than {_MAX_CHARACTERS:,} characters")
    except Exception as error:  # noqa: BLE001 - a template may fail in any way
        raise _template_error(error) from None
    return "".join(pieces)


def top_level_variables(template: jinja2.Template, variables: Mapping[str, Any]) -> Any:
    """An object with what the template sets outside of blocks and loops. Raises TemplateError."""
    try:
        return template.make_module({**variables, _LOOP_COUNTER: _round_counter()})
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
    def _parse(self, *args: Any) -> nodes.Template:
        tree = super()._parse(*args)
        for loop in list(tree.find_all(nodes.For)):
            counter = nodes.Name(_LOOP_COUNTER, "load", lineno=loop.lineno, environment=self)
            loop.iter = nodes.Call(counter, [loop.iter], [], None, None, lineno=loop.lineno, environment=self)
        return tree


def _round_counter() -> Any:
    rounds = 0

    def counted(items: Iterable[Any]) -> list[Any]:
        nonlocal rounds
        listed = list(items)
        rounds += len(listed)
        if rounds > _MAX_ROUNDS:
            raise TemplateError(f"its loops go around more than {_MAX_ROUNDS:,} times")
        return listed

    return counted


@functools.lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", _Generation],
        undefined=_Undefined,
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _raise_exception(message: object) -> str:
    raise TemplateError(f"it says: {str(message)[:500]}")
