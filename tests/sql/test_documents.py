"""The SQL in the documents: documented clauses, like that of the scripts, and allowed to the role that it names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("sqlglot", reason="a development package")

from . import scenarios, script
from .account import Account
from .grammar import parse

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^( *)```sql\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_PUT = re.compile(r"PUT file://\S+ @[\w.]+ AUTO_COMPRESS = FALSE OVERWRITE = TRUE")

BLOCKS = [
    (path.name, number, block)
    for path in DOCUMENTS
    for number, (_, block) in enumerate(_BLOCK.findall(path.read_text(encoding="utf-8")))
]


def querying() -> Account:
    account = Account()
    account.warehouse = "W"
    return account


def statements(block: str) -> list[str]:
    return [statement.text for statement in script.statements(block)]


def test_there_are_blocks_to_check() -> None:
    assert len(BLOCKS) >= 3


@pytest.mark.parametrize(("name", "number", "block"), BLOCKS, ids=lambda value: str(value)[:20])
def test_every_statement_of_a_document_has_a_documented_syntax(name: str, number: int, block: str) -> None:
    for text in statements(block):
        filled = re.sub(r"(?<!')<[^>']+>(?!')", "FILLED_IN", text)
        if filled.startswith("PUT "):
            # Compressed, the file would have another name on the stage than SPECIFICATION_FILE says.
            assert _PUT.fullmatch(filled), filled
        elif not (filled.startswith("SELECT") and querying().is_query(filled)):
            parse(filled)


def test_the_statements_for_a_hugging_face_token_give_the_deployer_what_the_notebook_needs() -> None:
    (block,) = [block for _, _, block in BLOCKS if "CREATE SECRET" in block]
    account = scenarios.empty_account()
    scenarios.set_up(account, scenarios.shipped())
    account.sign_in_as("ADMIN")
    account.run(block)
    secret = f"{scenarios.SCHEMA}.HUGGING_FACE"
    held = account.may("USAGE", "SECRET", secret, scenarios.DEPLOYER)
    assert held and account.may("READ", "SECRET", secret, scenarios.DEPLOYER)


def test_the_files_that_the_documents_upload_are_those_that_the_scripts_name() -> None:
    uploaded = {
        re.search(r"/([\w.]+) @", text)[1]  # type: ignore[index]
        for _, _, block in BLOCKS
        for text in statements(block)
        if text.startswith("PUT ")
    }
    scripts = script.read("create_openai_services.sql") + script.read("create_batch_functions.sql")
    assert uploaded == set(re.findall(r"SPECIFICATION(?:_TEMPLATE)?_FILE = '([^']+)'", scripts))


def test_the_images_that_the_documents_push_are_those_of_the_specifications() -> None:
    pushed = re.search(
        r"for IMAGE in (.*); do", (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    )
    assert pushed
    built = re.search(
        r"buildx build .* -t \"\$REPOSITORY/(\S+)\"",
        (ROOT / "docs" / "batch-gateway.md").read_text(encoding="utf-8"),
    )
    assert built
    images = {image.rpartition("/")[2] for image in (*pushed[1].split(), built[1])}
    specified = {
        match.rpartition("/")[2]
        for path in scenarios.SPECIFICATIONS.glob("*.yaml")
        for match in re.findall(r"image: (\S+)", path.read_text(encoding="utf-8"))
    }
    assert images == specified


def test_costs_in_the_documents_are_those_of_the_price_list() -> None:
    prices = json.loads((ROOT / "resource" / "instance_families.json").read_text(encoding="utf-8"))
    text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    rows = re.findall(r"`(\w+)` \| (0\.\d+|1\.\d+) \| USD ([\d,]+)(?: a month)? \| USD ([\d,]+)", text)
    assert len(rows) == 4
    for family, credits, month, office_hours in rows:
        rate = prices["families"][family]["credits_per_hour"]
        assert float(credits) == rate
        assert int(month.replace(",", "")) == round(rate * 3 * 730)
        assert int(office_hours.replace(",", "")) == round(rate * 3 * 8 * 22)
    assert f"effective {prices['effective']}" in text
