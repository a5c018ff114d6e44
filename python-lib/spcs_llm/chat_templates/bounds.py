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
import time
from collections.abc import Iterable, Iterator, KeysView, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from typing import Any, Callable

from jinja2.utils import Namespace

from spcs_llm.chat_templates.template_error import TemplateError

_MAX_ROUNDS = 1_000_000  # of all loops of one rendering
_MAX_CALLS = 100_000  # of macros, functions and methods
_MAX_SECONDS = 5.0  # of CPU
_STEPS_BETWEEN_LOOKS = 16  # at the clock, which costs more than most steps
_MAX_MADE = 200_000_000  # bytes of all texts, and items of all lists, that expressions make
# Characters of one text, or of one list when it is written: twice what a million tokens are.
_MAX_TEXT = 10_000_000
_MAX_SEARCH = 2_000_000_000  # characters of a text times those of another that is looked for in it
_MAX_ITEMS = 1_000_000  # of one list
_MAX_NUMBER = 100_000  # as a width, count or precision
_MAX_BITS = 4_096
_MAX_FORMAT = 1_000  # as a width within a format
_MAX_SEPARATOR = 8  # characters
_WORDS_COST = 10  # of a filter that makes a list of a text's words, for each character
_WIDTH = re.compile(r"[0-9]{4,}|\*")
# Methods of values. Others make bytes, or numbers and texts of any size out of small ones.
_METHODS: Mapping[type, AbstractSet[str]] = {
    str: frozenset(
        """
        capitalize casefold center count endswith expandtabs find format format_map index isalnum isalpha isascii
        isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip
        partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines
        startswith strip swapcase title upper zfill
        """.split()  # noqa: SIM905
    ),
    dict: frozenset(("copy", "get", "items", "keys", "values")),
    list: frozenset(("copy", "count", "index")),
    tuple: frozenset(("count", "index")),
    bytes: frozenset(),
    int: frozenset(("bit_length", "is_integer")),
    float: frozenset(("is_integer",)),
    type: frozenset(),  # its alternative constructors, such as dict.fromkeys
}
# Filters for pages, of which some take quadratic time or write what they are given again and again.
WITHOUT = ("filesizeformat", "pprint", "striptags", "urlencode", "urlize", "wordwrap", "xmlattr")
_SEARCHING = (
    "count", "find", "index", "lstrip", "partition", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip",
    "split", "strip",
)  # fmt: skip
_COUNTING_METHODS = ("center", "ljust", "rjust", "zfill", "expandtabs")
_COUNTING_FILTERS = ("center", "indent", "round", "batch", "slice", "truncate")
_WRITTEN_AS_LISTS = (list, tuple, dict, KeysView, ValuesView, AbstractSet, Namespace)
_TEXT_FILTERS = ("string", "escape", "e", "forceescape", "safe", "trim", "replace", "center", "tojson")


class Budget:
    """What one rendering may still cost, in the thread that renders."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    @contextlib.contextmanager
    def of_one_rendering(self) -> Iterator[None]:
        before = getattr(self._of_thread, "left", None)
        self._of_thread.left = [_MAX_ROUNDS, _MAX_CALLS, _MAX_MADE, _STEPS_BETWEEN_LOOKS]
        until = getattr(self._of_thread, "until", 0.0)
        self._of_thread.until = time.thread_time() + _MAX_SECONDS
        try:
            yield
        finally:
            self._of_thread.left, self._of_thread.until = before, until

    def counted(self, items: Iterable[Any]) -> list[Any]:
        """Charges the rounds of a loop.

        Args:
            items: The items that it goes over.

        Returns:
            The items.

        Raises:
            TemplateError: If all loops of the rendering have too many rounds.
        """
        listed = _Rounds(items)
        listed.budget = self
        self._charge(0, len(listed), f"its loops go around more than {_MAX_ROUNDS:,} times")
        return listed

    def check_time(self) -> None:
        """Looks at the clock, once in a few steps of the rendering."""
        left = getattr(self._of_thread, "left", None)
        if left is None:
            return
        left[3] -= 1
        if left[3] <= 0:
            left[3] = _STEPS_BETWEEN_LOOKS
            if time.thread_time() > self._of_thread.until:
                raise TemplateError(f"it computes for more than {_MAX_SECONDS:g} seconds")

    def call(self) -> None:
        self._charge(1, 1, f"it makes more than {_MAX_CALLS:,} calls")

    def charged(self, made: Any) -> Any:
        """Charges the length of a value that an expression made.

        Args:
            made: The value. Only texts, lists, tuples and objects cost something: their bytes or items.

        Returns:
            The value.

        Raises:
            TemplateError: If the value is too long, or the values of the rendering are together.
        """
        if isinstance(made, (str, list, tuple, dict)):
            self.allow(made, len(made))
            if not isinstance(made, str):
                self.allow("", written_length(made))
            size = len(made) if not isinstance(made, str) or made.isascii() else 4 * len(made)
            self._charge(2, size, f"its expressions make more than {_MAX_MADE:,} characters")
        return made

    def search(self, text: Any, wanted: Any) -> None:
        """Checks that looking for a text in another does not take the product of their lengths.

        Args:
            text: Where to look; of no text, nothing is checked.
            wanted: What to look for, or a tuple of such texts.

        Raises:
            TemplateError: If it may take too long.
        """
        length = sum(map(len, wanted)) if isinstance(wanted, tuple) else len(wanted)
        if isinstance(text, str) and len(text) * length > _MAX_SEARCH:
            raise TemplateError("one of its expressions looks for a long text in a long text")

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
        self.check_time()


class _Rounds(list[Any]):
    """The items of a loop, each of which is a moment to look at the clock."""

    budget: Budget

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.budget.check_time()
            yield item


def written_length(value: Any) -> int:
    """About how many characters a value has when it is written, which is also what comparing it costs.

    A list that holds another one many times is small in memory, and is written as often as it holds it.

    Args:
        value: A value of a template.

    Returns:
        The characters.

    Raises:
        TemplateError: If a list holds a namespace, which may grow later.
    """
    return _written_length(value, {})


def _written_length(value: Any, known: dict[int, int]) -> int:
    if isinstance(value, str):
        return len(value) + 2
    if not isinstance(value, _WRITTEN_AS_LISTS):
        return 1
    if isinstance(value, Namespace):
        raise TemplateError("it writes a namespace, or puts one into a list")
    length = known.get(id(value))
    if length is None:
        parts = (*value.keys(), *value.values()) if isinstance(value, dict) else value
        length = known[id(value)] = 2 + sum(_written_length(part, known) for part in parts)
    return length


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
        budget.allow("", len(left) + left.count("%") * written_length(right))
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
    kind: type[object] = type(owner)
    if owner is not None and name not in _methods_of(kind):
        raise TemplateError(f"it calls {name[:40]!r}, which no chat template needs")
    if isinstance(owner, str):
        if name in _SEARCHING and args and isinstance(args[0], (str, tuple)):
            budget.search(owner, args[0])
        if name in _COUNTING_METHODS:
            _check_numbers((*args, *kwargs.values()))
            if name == "expandtabs":
                _check_tabs(budget, owner, *args, *kwargs.values())
        elif name in ("format", "format_map"):
            _check_format(owner)
            _check_numbers((*args, *kwargs.values()), most=10**18)
            budget.allow("", len(owner) + owner.count("{") * written_length((*args, *kwargs.values())))
        elif name == "replace" and len(args) >= 2:
            _check_replace(budget, owner, *args[:2])
        elif name == "join" and args:
            args = (_checked_items(budget, owner, args[0]), *args[1:])
    return budget.charged(call(*args, **kwargs))


def _methods_of(kind: type[object]) -> AbstractSet[str]:
    """The methods of a type that a template may call; of Jinja's own types, such as `loop`, all of them."""
    methods = _METHODS.get(kind)
    if methods is None:
        methods = next((known for base, known in _METHODS.items() if issubclass(kind, base)), _EVERYTHING)
    return methods


class _Everything(frozenset[str]):
    def __contains__(self, name: object) -> bool:
        return True


_EVERYTHING = _Everything()


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
            if name == "indent" and len(values) > 0 and isinstance(values[0], str):
                _check_indent(budget, values[0], *values[1:2], **kwargs)
        elif name == "format" and values and isinstance(values[0], str):
            _check_format(values[0])
            budget.allow("", values[0].count("%") * written_length((*args[1:], *kwargs.values())))
        elif name in ("title", "wordcount") and values and isinstance(values[0], str):
            budget.allow("", _WORDS_COST * len(values[0]))
        elif name in _TEXT_FILTERS:
            series = [arg for arg in args if isinstance(arg, _WRITTEN_AS_LISTS)]
            if series:
                budget.allow("", written_length(series))
        elif name == "int" and values and isinstance(values[0], str):
            _check_bits(4 * len(values[0]))
        if name in ("replace", "trim") and len(values) >= 2 and isinstance(values[1], str):
            budget.search(values[0], values[1])
        if name == "replace" and len(values) >= 3:
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
        if any(len(separator) > _MAX_SEPARATOR for separator in separators):
            raise TemplateError(f"a separator of tojson has more than {_MAX_SEPARATOR} characters")
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


def _check_indent(budget: Budget, text: str, width: Any = 4, **_: Any) -> None:
    size = len(width) if isinstance(width, str) else max(0, width) if isinstance(width, int) else 0
    budget.allow("", len(text) + (len(text.splitlines()) + 1) * size)


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
