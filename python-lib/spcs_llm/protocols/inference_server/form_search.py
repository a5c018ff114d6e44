"""Which of several forms a service takes a query in: found by trying, and remembered.

A service does not tell its signature, and refuses a form and a query alike with HTTP 400. So the first query may try
every form; after that, a refusal costs no more than one further request, whatever it is about.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Callable, Generic, TypeVar

from spcs_llm.errors import ServiceError, SpcsError
from spcs_llm.protocols.inference_server.refusals import may_be_about_form, most_telling
from spcs_llm.sharing.learned import Learned

F = TypeVar("F")
T = TypeVar("T")
_MOST_AGAIN = 2  # requests for a query, once a form is known or none was taken


class FormSearch(Generic[F]):
    """The form that a service takes. Thread-safe.

    Args:
        assumed: The likeliest form.
        columns: Gives the names that a form has in a request. Once a form is known, only an error that has one of its
            names puts it in doubt.
    """

    def __init__(self, assumed: F, columns: Callable[[F], Collection[str]]) -> None:
        self._columns = columns
        self._found = Learned(assumed)
        self._guess = Learned(assumed)  # where to begin while none is found
        self._was_fruitless = Learned(False)
        self._tried: Learned[tuple[F, ...]] = Learned(())  # of late, so that each has its turn

    def learn(self, form: F) -> None:
        """Remembers that the service took this form."""
        self._found.learn(form)
        self._was_fruitless.forget(True)

    def ask(
        self, ask: Callable[[F], T], next_form: Callable[[Sequence[F], Collection[F], SpcsError], F | None]
    ) -> tuple[F, T]:
        """Puts a query in one form after the other until one is taken.

        Args:
            ask: Puts the query in a form.
            next_form: Gives the likeliest other form, if any, by those that were refused, those to leave out besides
                them and the last one's error.

        Returns:
            The form that was taken, and what `ask` returned.

        Raises:
            SpcsError: If no form is taken: of the errors that the forms met, the one that says most.
        """
        known = self._found.is_known
        form: F | None = self._found.value if known else self._guess.value
        is_again = known or self._was_fruitless.value
        refused: list[F] = []
        errors: list[SpcsError] = []
        while form is not None:
            try:
                result = ask(form)
            except ServiceError as error:
                refused.append(form)
                errors.append(error)
                doubted = may_be_about_form(error, self._columns(form) if known else None)
                if not doubted or (is_again and len(errors) == _MOST_AGAIN):
                    break
                form = self._next(next_form, refused, error) if is_again else next_form(refused, (), error)
                continue
            self.learn(form)
            return form, result
        told = most_telling(errors)
        if len(errors) > 1:
            self._was_fruitless.learn(True)
            if not known:
                self._guess.learn(refused[errors.index(told)])
        raise told

    def _next(
        self,
        next_form: Callable[[Sequence[F], Collection[F], SpcsError], F | None],
        refused: Sequence[F],
        error: SpcsError,
    ) -> F | None:
        tried = self._tried.value
        form = next_form(refused, tried, error)
        if form is None and tried:
            tried = ()
            form = next_form(refused, tried, error)
        if form is not None:
            self._tried.learn((*tried, form))
        return form
