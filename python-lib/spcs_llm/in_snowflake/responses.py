"""What a response holds: the answer, why there is none, and what it cost in tokens. Expressions over a VARIANT.

Responses: the OpenAI chat signature and text generation of snowflake-ml-python 2.6.0, sentence transformers, and
functions that return a text, `{"answer": …}` or `{"error": …}` as a value.
"""

from __future__ import annotations

from spcs_llm.control.identifiers import literal
from spcs_llm.protocols.openai.opening import THOUGHTS

MAX_REASON = 500  # characters of a service's own words in a failed row

_TEXT = (
    "COALESCE({r}:choices[0]:message:content::VARCHAR, {r}:answer::VARCHAR, {r}:outputs[0]:generated_text::VARCHAR, "
    "{r}:generated_text::VARCHAR, {r}:outputs::VARCHAR, {r}:output::VARCHAR, {r}:text::VARCHAR, "
    "CASE WHEN TYPEOF({r}) = 'VARCHAR' THEN {r}::VARCHAR ELSE NULL END)"
)
# Where the vector may be. Models of the earlier notebook, and functions that return VARCHAR, write it as a text.
_VECTORS = (
    "{r}", "{r}:output", "{r}:answer", "{r}:output_feature_0", "{r}:embedding", "{r}:data[0]:embedding", "{r}:outputs",
)  # fmt: skip
_READ = "CASE WHEN TYPEOF({cell}) = 'VARCHAR' THEN TRY_PARSE_JSON({cell}::VARCHAR) ELSE {cell} END"
# Of gpt-oss, all is thought that is not in the final message.
_THOUGHTS = {**THOUGHTS, "<|channel|>": "<|channel|>final<|message|>"}
_BLANKS = r"' \t\r\n'"
# As TO_JSON writes them: a double with its exponent. NaN and null have other letters.
_NUMBERS = r"'\\[[-+0-9.eE,]+\\]'"
_ZEROS = r"'\\[([-+0.,]|[eE][-+]?[0-9]+)*\\]'"


def is_there(response: str) -> str:
    """The condition for a response: NULL says that the service could not answer now, and nothing of the row."""
    return f"{response} IS NOT NULL AND TYPEOF({response}) <> 'NULL_VALUE'"


def text(response: str) -> str:
    """The expression for the text of an answer, with all that the model has said."""
    return _TEXT.format(r=response)


def answer_in(said: str) -> str:
    """The expression for an answer without the thoughts before it, as LLM Mesh has it.

    Args:
        said: The column of all that the model has said.

    Returns:
        An expression of type VARCHAR; NULL for thoughts without an end.
    """
    begun = f"LTRIM({said}, {_BLANKS})"
    cases = " ".join(
        f"WHEN LEFT({begun}, {len(begin)}) = {literal(begin)} THEN {_behind(begun, end)}"
        for begin, end in _THOUGHTS.items()
    )
    return f"CASE {cases} ELSE {said} END"


def _behind(begun: str, end: str) -> str:
    at = f"POSITION({literal(end)}, {begun})"
    rest = f"LTRIM(SUBSTR({begun}, {at} + {len(end)}), {_BLANKS})"
    return f"IFF({at} > 0, {rest}, NULL)"


def json_in(answer: str) -> str:
    """The expression for JSON without the fence of Markdown about it.

    Args:
        answer: The column of the answer.

    Returns:
        An expression of type VARCHAR. JSON ends in a bracket: backticks behind it are the fence's.
    """
    begun = f"LTRIM({answer}, {_BLANKS})"
    within = rf"SUBSTR({begun}, POSITION('\n', {begun}) + 1)"
    return rf"IFF(LEFT({begun}, 3) = '```', RTRIM({within}, '` \t\r\n'), {answer})"


def vector(response: str) -> str:
    """The expression for an embedding, as ARRAY."""
    found = [_READ.format(cell=cell.format(r=response)) for cell in _VECTORS]
    cases = " ".join(f"WHEN TYPEOF({value}) = 'ARRAY' THEN ({value})::ARRAY" for value in found)
    return f"CASE {cases} ELSE NULL END"


def finish_reason(response: str) -> str:
    """The expression for why the model stopped, such as length."""
    return f"LOWER(COALESCE({response}:choices[0]:finish_reason::VARCHAR, {response}:finishReason::VARCHAR))"


def tokens(response: str) -> str:
    """The expression for the number of tokens, in and out; NULL for what is not a number."""
    count = f"COALESCE({response}:usage:total_tokens::VARCHAR, {response}:totalTokens::VARCHAR)"
    return f"TRY_TO_NUMBER({count}, 38, 0)"


def chat_problem(response: str, answer: str, finish: str, otherwise: str, *, structured: bool) -> str:
    """The expression for why a row failed.

    Args:
        response: The column of the response.
        answer: The column of its text.
        finish: The column of why the model stopped.
        otherwise: The expression for what else may be wrong with the answer.
        structured: Whether the answer must fit a schema.

    Returns:
        An expression of type VARCHAR: a sentence, or NULL.
    """
    useless = f"{finish} = 'length'" if structured else f"{finish} = 'length' AND {answer} IS NULL"
    cases = [
        *_service_problems(response),
        f"WHEN {useless} THEN 'The answer was cut: it has as many tokens as ''Maximum output tokens'' allows.'",
        f"WHEN {answer} IS NULL THEN 'The answer has no text.'",
    ]
    return f"CASE {' '.join(cases)} ELSE {otherwise} END"


def embedding_problem(response: str, answer: str) -> str:
    """The expression for why a row has no vector, of the columns of both: a sentence, or NULL."""
    cases = [
        *_service_problems(response),
        f"WHEN {answer} IS NULL THEN 'The response does not contain a vector.'",
        f"WHEN NOT REGEXP_LIKE(TO_JSON({answer}), {_NUMBERS}) "
        "THEN 'The vector has no elements, or elements that are not numbers.'",
        f"WHEN REGEXP_LIKE(TO_JSON({answer}), {_ZEROS}) THEN 'All elements of the vector are zero.'",
    ]
    return f"CASE {' '.join(cases)} ELSE NULL END"


def _service_problems(response: str) -> list[str]:
    said = f"COALESCE({response}:error:message::VARCHAR, {response}:error::VARCHAR)"
    return [
        f"WHEN TYPEOF({response}) = 'OBJECT' AND TYPEOF({response}:error) <> 'NULL_VALUE' "
        f"THEN 'The service reports: ' || LEFT({said}, {MAX_REASON})",
    ]
