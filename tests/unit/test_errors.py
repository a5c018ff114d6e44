"""Errors as users, logs and other threads meet them."""

from __future__ import annotations

import copy
import inspect
import pickle
import threading
from typing import Callable

import pytest

from spcs_llm import errors
from spcs_llm.errors import NetworkError, QueryTimeout, ServiceDown, SpcsError, TlsError
from spcs_llm.in_snowflake.work import Superseded
from spcs_llm.protocols.openai.message import EndlessBlanks
from spcs_llm.protocols.openai.useless_streams import EmptyStream, NamelessCall

EVERY = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SpcsError)]


def test_the_text_tells_the_place_the_problem_the_request_and_the_mend() -> None:
    error = ServiceDown("The service does not answer.", "Read its logs.", status=503, request_id="r1")
    assert str(error) == "[service] The service does not answer. (request id r1) Read its logs."


def test_without_a_mend_the_text_ends_with_the_problem() -> None:
    assert str(ServiceDown("The service does not answer.")) == "[service] The service does not answer."


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_error_has_a_place_and_survives_copying_and_pickling(kind: type[SpcsError]) -> None:
    error = kind("It failed.", "Mend it.")
    error.status, error.code, error.request_id, error.retry_after = 503, "390112", "r1", 2.0
    for clone in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error)), error.again()):
        assert type(clone) is kind
        assert clone is not error
        assert (clone.message, clone.hint, clone.place) == ("It failed.", "Mend it.", kind.place)
        assert clone.__dict__ == error.__dict__
        assert str(clone) == str(error)


@pytest.mark.parametrize("kind", [EmptyStream, EndlessBlanks, NamelessCall, Superseded])
def test_an_error_that_chooses_its_own_words_is_copied_too(kind: Callable[[], SpcsError]) -> None:
    error = kind()
    error.quote("a server's words")
    for clone in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error)), error.again()):
        assert type(clone) is kind
        assert str(clone) == str(error)
        assert "a server's words" in str(clone)
    assert error.again().quotation == "a server's words."


def test_what_network_errors_know_is_copied_too() -> None:
    error = TlsError("cut", transient=False, silent=True, reset=True)
    error.stale = True
    clone = pickle.loads(pickle.dumps(error))
    assert (clone.transient, clone.silent, clone.reset, clone.stale) == (False, True, True, True)


def test_a_place_given_is_kept() -> None:
    assert copy.copy(QueryTimeout("over", place="login")).place == "login"
    assert QueryTimeout.place == "service"


def test_a_copy_for_another_thread_has_no_traceback_of_this_one() -> None:
    try:
        raise NetworkError("reset")
    except NetworkError as error:
        caught = error
    assert caught.__traceback__ is not None
    assert caught.again().__traceback__ is None
    raised = []

    def raise_again() -> None:
        try:
            raise caught.again()
        except NetworkError as error:
            raised.append(error)

    thread = threading.Thread(target=raise_again)
    thread.start()
    thread.join(30)
    assert raised[0].__traceback__.tb_frame.f_code.co_name == "raise_again"


def test_a_text_that_is_replaced_is_gone_from_every_form() -> None:
    error = ServiceDown("It quotes canary-51.", "Mend canary-51.")
    error.message, error.hint = "It quotes nothing.", "Mend it."
    for form in (str(error), repr(error), repr(error.args), repr(error.__dict__), str(pickle.dumps(error))):
        assert "canary-51" not in form
