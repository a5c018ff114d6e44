"""What an expression of a chat template may cost: no more than a conversation's prompt is worth.

A template is pasted into a form. One that never ends, or makes a text of a gigabyte out of three words, holds the
interpreter's lock and with it every user's queries; it is refused within bounded work instead.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable

from spcs_llm.chat_templates.template_error import TemplateError

_MAX_ROUNDS = 1_000_000  # of all loops of one rendering
_MAX_CALLS = 100_000  # of macros, functions and methods
_MAX_MADE = 200_000_000  # characters of all texts, and items of all lists, that expressions make
_MAX_TEXT = 10_000_000  # characters of one text: twice what a million tokens are
_MAX_ITEMS = 1_000_000  # of one list
_MAX_NUMBER = 100_000  # as a width, count or precision
_MAX_BITS = 4_096
_MAX_FORMAT = 1_000  # as a width within a format
_WIDTH = re.compile(r"[0-9]{4,}|\*")
_COUNTING_METHODS = ("center", "ljust", "rjust", "zfill", "expandtabs")
_COUNTING_FILTERS = ("center", "indent", "round", "batch", "slice", "wordwrap", "truncate")


class Budget:
    """What one rendering may still cost, in the thread that renders."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    @contextlib.contextmanager
    def of_one_rendering(self) -> Iterator[None]:
        before = getattr(self._of_thread, "left", None)
        self._of_thread.left = [_MAX_ROUNDS, _MAX_CALLS, _MAX_MADE]
        try:
            yield
        finally:
            self._of_thread.left = before

    def counted(self, items: Iterable[Any]) -> list[Any]:
        """Charges the rounds of a loop.

        Args:
            items: The items that it goes over.

        Returns:
            The items.

        Raises:
            TemplateError: If all loops of the rendering have too many rounds.
        """
        listed = list(items)
        self._charge(0, len(listed), f"its loops go around more than {_MAX_ROUNDS:,} times")
        return listed

    def call(self) -> None:
        self._charge(1, 1, f"it makes more than {_MAX_CALLS:,} calls")

    def charged(self, made: Any) -> Any:
        """Charges the length of a value that an expression made.

        Args:
            made: The value. Only texts, lists and tuples cost something: their characters or items.

        Returns:
            The value.

        Raises:
            TemplateError: If the value is too long, or the values of the rendering are together.
        """
        if isinstance(made, (str, list, tuple)):
            self.allow(made, len(made))
            self._charge(2, len(made), f"its expressions make more than {_MAX_MADE:,} characters")
        return made

    @staticmethod
    def allow(kind: Any, length: int) -> None:
        """Checks that a text or list is not longer than any prompt needs, before it is made.

        Args:
            kind: A value of the type that it will have. Only texts, lists and tuples are bounded.
            length: The characters or items that it will have.

        Raises:
            TemplateError: If it would be longer.
        """
        if isinstance(kind, str) and length > _MAX_TEXT:
            raise TemplateError(f"one of its expressions builds a text of more than {_MAX_TEXT:,} characters")
        if isinstance(kind, (list, tuple)) and length > _MAX_ITEMS:
            raise TemplateError(f"one of its expressions builds a list of more than {_MAX_ITEMS:,} items")

    def _charge(self, which: int, amount: int, complaint: str) -> None:
        left = getattr(self._of_thread, "left", None)
        if left is None:
            return
        left[which] -= amount
        if left[which] < 0:
            raise TemplateError(complaint)


def bounded_operation(
    budget: Budget, operator: str, left: Any, right: Any, operation: Callable[..., Any], context: Any
) -> Any:
    """Carries out `left operator right`, unless that is out of proportion.

    Args:
        budget: What the rendering may still cost.
        operator: The operator's sign, such as `*`.
        left: The value on its left.
        right: The value on its right.
        operation: Jinja's own, which takes `context`, the sign and the two values.
        context: Jinja's context of the template.

    Returns:
        The result.

    Raises:
        TemplateError: If it is out of proportion.
    """
    if operator == "%" and isinstance(left, str):
        _check_format(left)
    elif operator == "**":
        _check_bits(_bits(left) * (abs(right) if isinstance(right, int) else 1))
    elif operator == "*":
        for value, times in ((left, right), (right, left)):
            if isinstance(value, (str, list, tuple)) and isinstance(times, int):
                budget.allow(value, len(value) * max(0, times))
        _check_bits(_bits(left) + _bits(right))
    elif operator == "+" and isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
        budget.allow(left, len(left) + len(right))
    return budget.charged(operation(context, operator, left, right))


def bounded_call(
    budget: Budget,
    function: Any,
    call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Calls a macro, function or method, unless that is out of proportion.

    Args:
        budget: What the rendering may still cost.
        function: What the template calls, by which the call is judged.
        call: Makes the call, given the arguments.
        args: The arguments by place.
        kwargs: The arguments by name.

    Returns:
        The result of the call.

    Raises:
        TemplateError: If it is out of proportion.
    """
    budget.call()
    function = getattr(function, "__wrapped__", function)  # Jinja 3.1.5 and later wraps str.format
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
    if isinstance(owner, str):
        if name in _COUNTING_METHODS:
            _check_numbers((*args, *kwargs.values()))
            if name == "expandtabs":
                _check_tabs(budget, owner, *args, *kwargs.values())
        elif name in ("format", "format_map"):
            _check_format(owner)
            _check_numbers((*args, *kwargs.values()), most=10**18)
        elif name == "replace" and len(args) >= 2:
            _check_replace(budget, owner, *args[:2])
        elif name == "join" and args:
            args = (_checked_items(budget, owner, args[0]), *args[1:])
    return budget.charged(call(*args, **kwargs))


def bounded_filter(budget: Budget, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a filter refuse what is out of proportion.

    Args:
        budget: What the rendering may still cost.
        name: The filter's name in Jinja.
        function: The filter.

    Returns:
        A filter that does the same, and raises TemplateError for what is out of proportion.
    """

    @functools.wraps(function)  # with the marks by which Jinja hands over its context
    def bounded(*args: Any, **kwargs: Any) -> Any:
        budget.call()
        values = [arg for arg in args if isinstance(arg, (str, int, float, list, tuple))]
        if name in _COUNTING_FILTERS:
            _check_numbers((*values[1:], *kwargs.values()))
        elif name == "format" and values and isinstance(values[0], str):
            _check_format(values[0])
        elif name == "int" and values and isinstance(values[0], str):
            _check_bits(4 * len(values[0]))
        elif name == "replace" and len(values) >= 3:
            _check_replace(budget, *values[:3])
        elif name == "sum" and _series_in((*args[1:], *kwargs.values())):
            raise TemplateError(
                "it joins lists by the filter sum"
            )  # which copies the first one for each of the others
        elif name == "join":
            args = tuple(_checked_items(budget, "", arg) if _is_series(arg) else arg for arg in args)
        return budget.charged(function(*args, **kwargs))

    return bounded


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """Writes JSON without escapes for HTML, with the options that Hugging Face has and no others.

    Others take functions, by which Jinja before 3.1.5 lets a template out of its sandbox.

    Args:
        value: The value to write.
        ensure_ascii: Whether characters beyond ASCII are escaped.
        indent: The indent of a level: a number of blanks up to 16, or a text of up to 8 characters; None for one line.
        separators: What separates items, and keys from values; None for those of `json`.
        sort_keys: Whether keys are sorted.

    Returns:
        The JSON.

    Raises:
        TemplateError: If the indent is neither, or too large.
    """
    if indent is not None and not (isinstance(indent, (int, str)) and len(str(indent)) <= 8):
        raise TemplateError("'indent' of tojson must be a small number or text")
    if isinstance(indent, int):
        _check_numbers((indent,), most=16)
    if separators is not None:
        separators = tuple(str(separator) for separator in separators)
    return json.dumps(
        value,
        ensure_ascii=bool(ensure_ascii),
        indent=indent,
        separators=separators,
        sort_keys=bool(sort_keys),
    )


def _check_numbers(values: Iterable[Any], *, most: int = _MAX_NUMBER) -> None:
    if any(isinstance(value, (int, float)) and abs(value) > most for value in values):
        raise TemplateError(f"one of its expressions has a width or count of more than {most:,}")


def _check_format(form: str) -> None:
    if _WIDTH.search(form) is not None:
        raise TemplateError(f"one of its expressions has a width of more than {_MAX_FORMAT:,} in a format")


def _check_replace(budget: Budget, text: Any, old: Any, new: Any) -> None:
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        budget.allow(text, len(text) + text.count(old) * len(new))


def _check_tabs(budget: Budget, text: str, size: Any = 8) -> None:
    if isinstance(size, int):
        budget.allow(text, len(text) + text.count("\t") * max(0, size))


def _checked_items(budget: Budget, separator: str, items: Any) -> Any:
    if not isinstance(items, (list, tuple)):
        items = list(items)
    budget.allow("", sum(len(item) + len(separator) for item in items if isinstance(item, str)))
    return items


def _is_series(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or hasattr(value, "__next__")


def _series_in(values: Iterable[Any]) -> bool:
    return any(_is_series(value) for value in values)


def _check_bits(bits: int) -> None:
    if bits > _MAX_BITS:
        raise TemplateError("one of its expressions makes a number of too many digits")


def _bits(value: Any) -> int:
    return abs(value).bit_length() if isinstance(value, int) else 1 if isinstance(value, float) else 0
