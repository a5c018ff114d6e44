"""`python -m sandbox demo` shows the plugin at work; `python -m sandbox serve` keeps it running until Ctrl-C."""

from __future__ import annotations

import io
import sys
import time

from rich.console import Console

from sandbox import interrupts
from sandbox.demo import demo, started
from sandbox.furniture import furnish
from sandbox.instance import PROJECT, VIEWER
from sandbox.loopback import bypass_proxies
from sandbox.models import CHAT, CHAT_OPENAI, EMBEDDING
from sandbox.snowflake import USER


def serve(console: Console) -> None:
    with started(console) as instance:
        furnish(instance)
        webapp = instance.start_webapp()
        console.print(
            f"""
DSS listens at {instance.url}. In another shell, with .venv-demo/bin/python:

    import dataikuapi
    client = dataikuapi.DSSClient("{instance.url}", "{instance.api_key}")
    llm = client.get_project("{PROJECT}").get_llm("{CHAT_OPENAI}")
    print(llm.new_completion().with_message("Hello").execute().text)

Models: {CHAT}, {CHAT_OPENAI}, {EMBEDDING}

The webapp Model services, for a browser:
  as {USER}, who may suspend and resume services: {instance.dss.webapp_url(webapp, USER)}
  as {VIEWER}, who may only look: {instance.dss.webapp_url(webapp, VIEWER)}

Ctrl-C stops it.""",
            soft_wrap=True,
        )
        while True:
            time.sleep(
                1
            )  # and not for good: Ctrl-C does not wake this thread if the kernel tells another one


def plain_console() -> Console:
    """Styles, but neither markup nor emoji codes in text: an id is printed as it is, and so is a model's answer.

    What the terminal's encoding lacks becomes a question mark.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(markup=False, emoji=False, highlight=False)


def main() -> int:
    commands = {"demo": demo, "serve": serve}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        print(__doc__)
        return 2
    interrupts.install()
    bypass_proxies()
    try:
        commands[sys.argv[1]](plain_console())
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
