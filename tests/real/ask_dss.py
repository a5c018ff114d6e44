"""Asks through the client of DSS that this Python has: `ask_dss.py URL PROJECT`, the rest as JSON on standard input.

Prints what came back, as JSON: what differs from one run to the next (times, identifiers) is left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import dataikuapi

url, project_key = sys.argv[1:]
given = json.load(sys.stdin)
project = dataikuapi.DSSClient(url, given["api_key"]).get_project(project_key)
chat, embedding = (project.get_llm(given[name]) for name in ("chat", "embedding"))
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def question(text: str = "What is the capital of France?", **settings: Any) -> Any:
    completion = chat.new_completion()
    completion.with_message("You are a helpful assistant.", role="system").with_message(text)
    completion.settings.update({"temperature": 0, "maxOutputTokens": 32, **settings})
    return completion


def streamed(completion: Any) -> str:
    return "".join(getattr(item, "text", None) or "" for item in completion.execute_streamed())


def batch() -> list[str]:
    queries = chat.new_completions()
    queries.settings.update(temperature=0, maxOutputTokens=8)
    for text in ("Say one.", "Say two."):
        queries.new_completion().with_message(text)
    return [response.text for response in queries.execute().responses]


def vectors() -> list[int]:
    query = embedding.new_embeddings()
    for text in ("cat", "kitten", "revenue"):
        query.add_text(text)
    return [len(vector) for vector in query.execute().get_embeddings()]


def failure(ask: Callable[[], Any]) -> str | None:
    try:
        ask()
    except Exception as error:  # noqa: BLE001
        return str(error)
    return None


def macro() -> list[str]:
    found = project.get_macro(given["macro"])
    result = found.get_result(found.run(given["macro_params"]), as_type="json")
    at = [column["name"] for column in result["columns"]].index("service")
    return sorted(record[at] for record in result["records"] if record[at])  # a note names no service


def agent_history() -> bool:
    query = chat.new_completion().with_message("What is the weather in Paris?")
    call = {"type": "function", "id": "c1", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    query.with_tool_calls([call]).with_tool_output("18 C and sunny", "c1")
    query.settings.update(temperature=0, maxOutputTokens=16)
    return bool(query.execute().text)


answer = question().execute()
too_long = question("word " * 9000)
print(
    json.dumps(
        {
            "models": {
                purpose: sorted(model.id for model in project.list_llms(purpose=purpose))
                for purpose in ("GENERIC_COMPLETION", "TEXT_EMBEDDING_EXTRACTION")
            },
            "text": answer.text,
            "trace": answer.trace["name"],
            "streamed": streamed(question()),
            "batch": batch(),
            "schema": question("Extract the city as JSON: Alice lives in Berlin.")
            .with_json_output(schema=PLACE)
            .execute()
            .json,
            "tool history": agent_history(),
            "vectors": vectors(),
            "too long": failure(lambda: too_long.execute().text),
            "too long, streamed": failure(lambda: streamed(too_long)),
            "LangChain": chat.as_langchain_chat_model(temperature=0, max_tokens=32)
            .invoke([("system", "You are a helpful assistant."), ("human", "What is the capital of France?")])
            .content,
            "LangChain embeddings": len(embedding.as_langchain_embeddings().embed_query("cat")),
            "macros": [item["runnableType"] for item in project.list_macros()],
            "macro": macro(),
        }
    )
)
