"""The plugin against an honest server, through the same arrangement as the attacks: they start from here."""

from __future__ import annotations

import pytest

from tests.hostile.surfaces import SURFACES, Surface, new_question
from tests.hostile.victim import Victim

pytestmark = pytest.mark.exhaustive


@pytest.mark.parametrize("surface", SURFACES, ids=str)
def test_an_honest_server_is_answered_for(victim: Victim, surface: Surface) -> None:
    with surface.serve(surface.good) as server:
        question = new_question()
        outcome = victim.ask(*surface.queries(server.url, question), measure=True)[-1]
    assert outcome.died is None
    assert outcome.error is None, outcome.text
    assert surface.says(outcome.answer) == surface.honest_says(question)
    assert server.of(surface.path), "the attacked path is asked"
    assert outcome.written == [], "nothing is written to disk"
