"""What the README tells somebody to do works as it says, and what it quotes can be said."""

from __future__ import annotations

import json
import re
from pathlib import Path

from sandbox.instance import Instance
from sandbox.services.scripted import answer_to, vector_of
from tests.documents.error_list import MEANINGS, PAGE, known_errors, page

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FORM = json.loads((ROOT / "python-llms/snowpark-container-services-llm/llm.json").read_text(encoding="utf-8"))


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if not line.startswith("| ---")
    ]


def test_the_list_of_errors_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: make documents"


def test_every_origin_of_an_error_is_in_the_readme() -> None:
    told = README.partition("begins with its origin in brackets")[2].partition("\n\n")[0]
    assert set(re.findall(r"`\[(\w+)\]`", told)) == set(MEANINGS)


def test_no_error_ends_in_two_full_stops() -> None:
    doubled = re.compile(r"(?<!\.)\.…?\.(?!\.)")  # a text that ends in one, and was put before another one
    assert [known.message for known in known_errors() if doubled.search(known.message.rstrip("…"))] == []


def test_every_symptom_is_a_text_that_the_plugin_can_say() -> None:
    library = "".join(path.read_text() for path in (ROOT / "python-lib/spcs_llm").rglob("*.py"))
    said = re.sub(r'"\s*\n\s*f?"', "", library) + page()
    for symptom, *_ in rows(section("Troubleshooting"))[1:]:
        if symptom.startswith("Snowflake's page"):
            continue  # Snowflake's own, before the plugin is asked
        for quoted in re.findall(r"`([^`\[\]]+)`", symptom):
            text = quoted.rpartition("' ")[2]  # a field's label is put in when the error is made
            assert text in said or quoted == "invalid_client", quoted


def test_every_field_of_the_table_is_one_of_the_form() -> None:
    labels = {param["label"] for param in FORM["params"]} | {"Id", "Capability", "Type"}
    for field, *_ in rows(section("Connection and models").partition("The models are then")[0])[1:]:
        for name in re.split(r", | or ", field):
            assert name in labels, name


def test_every_choice_of_the_form_that_the_readme_names_is_there() -> None:
    (protocol,) = (param for param in FORM["params"] if param["name"] == "serviceProtocol")
    labels = {choice["label"] for choice in protocol["selectChoices"]}
    for name in ("Automatic", "OpenAI", "Model serving", "Predict"):
        assert any(label.startswith(name) for label in labels), name


def test_models_made_as_the_table_says_answer() -> None:
    """Only the table's fields are filled in: sign-in and preset, the two URLs, and the protocol."""
    with Instance() as instance:
        create_service = instance.snowflake.create_service
        chat = instance.add_model(
            "qwen", "CHAT", create_service("chat", "scripted", "OPENAI"), serviceProtocol="AUTOMATIC"
        )
        minilm = instance.add_model(
            "minilm",
            "EMBEDDING",
            create_service("embed", "scripted", "PREDICT", kind="embedding"),
            serviceProtocol="AUTOMATIC",
        )
        assert chat.new_completion().with_message("Hello").execute().text == answer_to("Hello")
        vectors = minilm.new_embeddings().add_text("a text").execute().get_embeddings()
        assert vectors == [vector_of("a text")]
        assert not instance.dss.violations
