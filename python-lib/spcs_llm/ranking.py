"""A ranking from the scores of its documents, some of which may have failed."""

from __future__ import annotations

from collections.abc import Sequence

from spcs_llm.domain import RankedDocument, Ranking, Usage
from spcs_llm.errors import BadRequest, Blocked, ModelError, QueryError, RequestTooLarge, SpcsError

# What a service says of one document, such as an empty or too long one. All else concerns every document.
_OF_ONE_DOCUMENT = (BadRequest, Blocked, RequestTooLarge, ModelError, QueryError)


def ranking_of(scores: Sequence[float | SpcsError], usage: Usage) -> tuple[Ranking, list[int]]:
    """The ranking by these scores. Documents that cannot be ranked come last, so that the others are found.

    Args:
        scores: For each document, in the query's order, its score or why it has none.
        usage: The token counts of the whole.

    Returns:
        The ranking of all documents, and the indexes of those that are last because they have no score.

    Raises:
        SpcsError: If no document has a score, or one has none for a reason that is not the document's.
    """
    failed = {index: score for index, score in enumerate(scores) if isinstance(score, SpcsError)}
    for error in failed.values():
        if len(failed) == len(scores) or not isinstance(error, _OF_ONE_DOCUMENT):
            raise error
    ranked = [
        RankedDocument(at, score) for at, score in enumerate(scores) if not isinstance(score, SpcsError)
    ]
    ranked.sort(key=lambda document: -document.score)
    lowest = min([0.0, *(document.score for document in ranked)])
    ranked += [RankedDocument(index, lowest) for index in failed]
    return Ranking(tuple(ranked), usage), list(failed)
