"""`python -m sandbox demo` shows the plugin at work; `python -m sandbox serve` keeps it running until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading

from rich.console import Console

from sandbox.demo import demo, started
from sandbox.instance import PROJECT
from sandbox.models import CHAT, CHAT_OPENAI, EMBEDDING


def serve(console: Console) -> None:
    with started(console) as instance:
        console.print(
            f"""
DSS listens at {instance.url}. In another shell, with [bold].venv-demo/bin/python[/bold]:

    import dataikuapi
    client = dataikuapi.DSSClient("{instance.url}", "{instance.api_key}")
    llm = client.get_project("{PROJECT}").get_llm("{CHAT_OPENAI}")
    print(llm.new_completion().with_message("Hello").execute().text)

Models: {CHAT}, {CHAT_OPENAI}, {EMBEDDING}
Ctrl-C stops it.""",
            highlight=False,
            soft_wrap=True,
        )
        threading.Event().wait()


def main() -> int:
    commands = {"demo": demo, "serve": serve}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        print(__doc__)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        commands[sys.argv[1]](Console())
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
