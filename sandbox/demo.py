"""What a newcomer sees: every kind of query, asked through DSS's own Python client."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from sandbox import job_in_snowflake, operations
from sandbox.instance import PROJECT, Instance
from sandbox.models import CHAT, CHAT_OPENAI, EMBEDDING, add_models

HANDBOOK = {
    "travel.md": "Trains are booked in first class from four hours of travel on. Flights need a manager's approval.",
    "leave.md": "Every employee has 28 days of paid leave a year. Unused days expire at the end of March.",
    "laptops.md": "Laptops are replaced every four years. A stolen laptop is reported to the service desk at once.",
    "expenses.md": "Receipts are handed in within 30 days. Meals are refunded up to 40 euros a day.",
    "parking.md": "Parking spaces are free on the third floor. Bicycles are kept in the courtyard.",
}
QUESTION = "How many days of paid leave does an employee have?"
PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
    "required": ["city", "country"],
    "additionalProperties": False,
}


@contextlib.contextmanager
def started(console: Console) -> Iterator[Instance]:
    """An instance with its models; each step is told before it is taken."""

    def say(step: str) -> None:
        console.print(f"  • {step}")

    say("DSS with this plugin, and a Snowflake account with an ingress")
    with (
        tempfile.TemporaryDirectory() as folder,
        Instance(plugin_config={"usageLogFolder": folder}) as instance,
    ):
        operations.prepare(instance)
        operations.write_past_usage(Path(folder))
        add_models(instance, say)
        yield instance


def demo(console: Console) -> None:
    """Starts everything, shows it, and stops it."""
    began = time.monotonic()
    logging.basicConfig(format="  log: %(message)s", level=logging.WARNING, stream=console.file)
    _heading(console, "Starting, all on this machine")
    with started(console) as instance:
        console.print(f"  ready after {time.monotonic() - began:.0f} s\n")
        response = _chat(console, instance)
        _stream(console, instance)
        _json_schema(console, instance)
        _similarities(console, instance)
        _knowledge_bank(console, instance)
        _trace(console, response.trace)
        _operations(console, instance)
        _job(console, instance)
        breaches = instance.dss.violations
    if breaches:
        raise SystemExit(f"the plugin broke DSS's contract: {breaches}")
    _what_next(console)


def _chat(console: Console, instance: Instance) -> Any:
    _heading(console, "Chat", ": PREDICT, the protocol of the earlier notebook's services")
    completion = instance.llm(CHAT).new_completion()
    completion.with_message("You are a helpful assistant.", role="system")
    completion.with_message("What is the capital of France?")
    completion.settings["temperature"] = 0.5  # this protocol cannot carry it: the trace says so
    response = completion.execute()
    _fact(console, "question", "What is the capital of France?")
    _fact(console, "answer", _text(response))
    _print_usage(console, response._raw)
    return response


def _stream(console: Console, instance: Instance) -> None:
    _heading(console, "Stream", ": OPENAI, llama.cpp's own server; each · is a chunk as it came")
    completion = instance.llm(CHAT_OPENAI).new_completion()
    completion.with_message("Write two sentences about the sea.")
    completion.settings.update(temperature=0, maxOutputTokens=48)
    _fact(console, "answer", "", end="")
    for item in completion.execute_streamed():
        data = item.data
        if data.get("type") == "footer":
            console.print()
            _print_usage(console, data)
        elif data.get("text"):
            console.print(Text.assemble(("·", "dim"), data["text"]), end="")


def _json_schema(console: Console, instance: Instance) -> None:
    _heading(console, "JSON", ": an answer held to a schema")
    completion = instance.llm(CHAT_OPENAI).new_completion()
    question = "Extract the city and its country from: 'Alice lives in Berlin, Germany.'"
    completion.with_message(question).with_json_output(schema=PLACE)
    completion.settings.update(temperature=0, maxOutputTokens=64)
    answer = json.loads(_text(completion.execute()))
    _fact(console, "question", question)
    _fact(console, "answer", f"{json.dumps(answer)}\n")


def _similarities(console: Console, instance: Instance) -> None:
    _heading(console, "Embeddings", ": what is near to “How do I get my money back?”")
    texts = ["How do I get my money back?", "Refunds are paid within a week.", "The cat sleeps on the sofa."]
    query = instance.llm(EMBEDDING).new_embeddings()
    for text in texts:
        query.add_text(text)
    question, *others = (np.array(vector) for vector in query.execute().get_embeddings())
    table = Table(box=None, show_header=False, padding=(0, 2))
    for text, vector in zip(texts[1:], others):
        cosine = question @ vector / np.linalg.norm(question) / np.linalg.norm(vector)
        table.add_row(f"{cosine:.3f}", text)
    console.print(table)
    console.print(f"  {len(question)} dimensions\n", style="dim")


def _knowledge_bank(console: Console, instance: Instance) -> None:
    _heading(console, "RAG", ": a knowledge bank of a small handbook")
    documents = [{"text": text, "metadata": {"source": source}} for source, text in HANDBOOK.items()]
    instance.dss.create_knowledge_bank(PROJECT, "handbook", EMBEDDING, documents, "ALICE")
    bank = instance.project.get_knowledge_bank("handbook")
    (found,) = bank.search(QUESTION, max_documents=1).documents
    completion = instance.llm(CHAT_OPENAI).new_completion()
    completion.with_message(f"Answer in one sentence from this text: {found.text}\n\nQuestion: {QUESTION}")
    completion.settings.update(temperature=0, maxOutputTokens=48)
    _fact(console, "question", QUESTION)
    _fact(console, "answer", _text(completion.execute()))
    _fact(console, "source", f"{found.metadata['source']} (score {found.score:.3f})\n")


def _trace(console: Console, trace: Mapping[str, Any]) -> None:
    _heading(console, "Trace", " of the first chat, as LLM Mesh keeps it")
    tree = Tree(_span(trace))
    _grow(tree, trace)
    console.print(tree)
    console.print()


def _operations(console: Console, instance: Instance) -> None:
    _heading(
        console, "Operations", ": macros that find services, say what is wrong with one, and what they cost"
    )
    operations.show(console, instance, lambda name, value: _fact(console, name, value))


def _job(console: Console, instance: Instance) -> None:
    _heading(console, "Job", ": a recipe that classifies a table inside Snowflake; no row passes through DSS")
    job_in_snowflake.prepare(instance)
    job_in_snowflake.show(console, instance, lambda name, value: _fact(console, name, value))


def _grow(tree: Tree, span: Mapping[str, Any]) -> None:
    for child in span.get("children", []):
        _grow(tree.add(_span(child)), child)


def _span(span: Mapping[str, Any]) -> Text:
    facts = {**span.get("attributes", {}), **span.get("usageMetadata", {})}
    shown = "  ".join(f"{key}={_short(value)}" for key, value in facts.items() if value not in (None, [], {}))
    label = Text(overflow="fold").append(span["name"], "bold").append(f"  {span.get('duration', 0)} ms")
    return label.append(f"\n{shown}", "dim") if shown else label


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _text(response: Any) -> str:
    if not response.success:
        raise SystemExit(f"the query failed: {response._raw.get('errorMessage')}")
    return str(response.text).strip()


def _print_usage(console: Console, raw: Mapping[str, Any]) -> None:
    counted = "estimated" if raw.get("tokenCountsAreEstimated") else "counted by the server"
    console.print(
        Text.assemble(
            _label("tokens"),
            f"{raw.get('promptTokens')} in, {raw.get('completionTokens')} out ({counted})",
            ("    cost", "cyan"),
            f" ${raw.get('estimatedCost', 0.0):.7f}",
            ("    finish reason", "cyan"),
            f" {raw.get('finishReason')}\n",
        )
    )


def _what_next(console: Console) -> None:
    text = Text.assemble(
        ("make serve", "bold"),
        "   keep it running, and talk to it with dataikuapi\n",
        ("make test", "bold"),
        "    the proof that it works\n",
        ("make plugin", "bold"),
        "  the zip to install in DSS\nREADME.md    how to deploy models in Snowflake and set DSS up",
    )
    console.print(Panel(text, title="What next", expand=False))


def _heading(console: Console, name: str, rest: str = "") -> None:
    console.rule(Text.assemble((name, "bold"), rest))


def _fact(console: Console, name: str, value: str, end: str = "\n") -> None:
    console.print(Text.assemble(_label(name), value), end=end)


def _label(name: str) -> tuple[str, str]:
    return f"  {name:<10}", "cyan"
