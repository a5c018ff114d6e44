"""Records what a model's own chat template makes of the conversations, as a golden record for our template.

    python -m tests.unit.golden.record TEXT_GENERATION_PHI_3 "where the template is from" tokenizer_config.json

The template is read from a `tokenizer_config.json` or a Jinja file, and rendered by Jinja as it comes, without the
plugin: a record is worth something only if another implementation made it. Conversations that the template refuses are
listed in the record with its reason. A record of the same mode and source is replaced.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

FILE = Path(__file__).with_name("chat_prompts.json")


def record(
    mode: str, source: str, template: str, tokens: dict[str, str], golden: dict[str, Any]
) -> dict[str, Any]:
    """The record of a template.

    Args:
        mode: `TEXT_GENERATION_…`, of which ours is to be compared with it.
        source: where the template is from, with its version.
        template: Jinja.
        tokens: `bos_token` and `eos_token`, which the tokenizer has.
        golden: what `chat_prompts.json` holds.
    """
    prompts: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name, turns in golden["conversations"].items():
        messages = [{"role": role, "content": text} for role, text in turns]
        try:
            prompts[name] = (
                _environment()
                .from_string(template)
                .render(messages=messages, add_generation_prompt=True, **tokens)
            )
        except jinja2.TemplateError as error:
            left_out[name] = str(error)
    bos = tokens.get("bos_token", "")
    made = {
        "mode": mode,
        "source": source,
        "has_bos": bool(bos) and all(p.startswith(bos) for p in prompts.values()),
    }
    return {**made, **({"left_out": _sentence(left_out)} if left_out else {}), "prompts": prompts}


def _sentence(left_out: dict[str, str]) -> str:
    refused = "; ".join(f"{name} ({reason})" for name, reason in left_out.items())
    return f"The template refuses: {refused}."


def with_record(golden: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """The golden file's content with this record in the place of an earlier one, or at the end."""
    key = (made["mode"], made["source"])
    recorded = [made if (each["mode"], each["source"]) == key else each for each in golden["recorded"]]
    return {**golden, "recorded": recorded if made in recorded else [*recorded, made]}


def written(golden: dict[str, Any]) -> str:
    """The file's text: a conversation a line, as it is kept."""
    conversations = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(turns, ensure_ascii=False)}"
        for name, turns in golden["conversations"].items()
    )
    recorded = json.dumps(golden["recorded"], ensure_ascii=False, indent=1).replace("\n", "\n ")
    return f'{{\n "conversations": {{\n{conversations}\n }},\n "recorded": {recorded}\n}}\n'


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise
    return environment


def _raise(message: str) -> str:
    raise jinja2.TemplateError(message)


def _template_in(path: Path) -> tuple[str, dict[str, str]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        return text, {}
    config = json.loads(text)
    tokens = {name: config[name] for name in ("bos_token", "eos_token") if config.get(name)}
    return config["chat_template"], {
        name: token["content"] if isinstance(token, dict) else token for name, token in tokens.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode")
    parser.add_argument("source")
    parser.add_argument("template", type=Path)
    parser.add_argument("--bos", default="")
    parser.add_argument("--eos", default="")
    args = parser.parse_args()
    template, tokens = _template_in(args.template)
    tokens = {
        "bos_token": args.bos or tokens.get("bos_token", ""),
        "eos_token": args.eos or tokens.get("eos_token", ""),
    }
    golden = json.loads(FILE.read_text(encoding="utf-8"))
    made = record(args.mode, args.source, template, tokens, golden)
    FILE.write_text(written(with_record(golden, made)), encoding="utf-8")
    print(
        f"{len(made['prompts'])} conversations recorded, {len(made.get('left_out', {}))} refused by the template"
    )


if __name__ == "__main__":
    main()
