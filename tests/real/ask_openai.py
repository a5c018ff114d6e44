"""Asks through OpenAI's own client: `ask_openai.py URL TOKEN`, the request as JSON on standard input."""

import json
import sys

import openai

url, token = sys.argv[1:]
client = openai.OpenAI(
    base_url=f"{url}/v1",
    api_key="not used",
    default_headers={"Authorization": f'Snowflake Token="{token}"'},
    max_retries=0,
)
message = client.chat.completions.create(**json.load(sys.stdin)).choices[0].message
calls = [
    {"name": call.function.name, "arguments": call.function.arguments} for call in message.tool_calls or []
]
print(json.dumps({"text": message.content, "tool_calls": calls}))
