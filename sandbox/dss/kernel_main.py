"""What a kernel process runs: one macro, one recipe, the Python of a form, or a webapp's backend.

It knows nothing of the sandbox, only `dataiku`.

Its order is the first line of standard input; the process ends when that is closed. What it has to say goes, a JSON
object a line, to the file descriptor that its argument names: a plugin may print whatever it likes.
"""

from __future__ import annotations

import errno
import importlib.util
import inspect
import json
import logging
import os
import runpy
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

Message = dict[str, Any]


class Channel:
    """What the host hears."""

    def __init__(self, descriptor: int) -> None:
        self._out = os.fdopen(descriptor, "w", encoding="utf-8")
        self._lock = threading.Lock()

    def say(self, **message: Any) -> None:
        with self._lock:
            self._out.write(json.dumps(message) + "\n")
            self._out.flush()


class BrokenContract(Exception):
    """The plugin does what DSS would not understand."""

    def __init__(self, rule: str, found: str) -> None:
        super().__init__(found)
        self.rule = rule


def main() -> None:
    channel = Channel(int(sys.argv[1]))
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_host, daemon=True).start()
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] [%(levelname)s] [%(name)s] %(message)s")
    if order["confined_to"]:
        confine(Path(order["confined_to"]), Path(order["data_folder"]))
    if not order["has_fresh_oauth_credentials"]:
        import dataiku.core.plugin

        del dataiku.core.plugin.OAuthCredentials
    try:
        work = {"macro": run_macro, "form": run_form, "recipe": run_recipe, "webapp": run_webapp}[
            order["kind"]
        ]
        channel.say(result=work(order, channel))
    except BrokenContract as broken:
        channel.say(broken=broken.rule, found=str(broken))
    except BaseException as error:
        traceback.print_exc()
        channel.say(error=str(error), type=type(error).__name__, line=_line_of(error, order["file"]))


def _end_with_the_host() -> None:
    sys.stdin.read()
    os._exit(1)


def run_macro(order: Message, channel: Channel) -> Message:
    cls = _runnable_in(_module(order["file"]))
    macro = cls(order["project_key"], order["config"], order["plugin_config"])
    target = macro.get_progress_target()
    if target is not None:
        good = isinstance(target, (tuple, list)) and len(target) == 2 and _is_number(target[0])
        if not good or target[1] not in ("SIZE", "FILES", "RECORDS", "NONE"):
            raise BrokenContract("progress-target", f"get_progress_target() gave {target!r}")
        channel.say(target=list(target))

    def progress(done: Any) -> None:
        if not _is_number(done):
            raise BrokenContract("progress-is-a-number", f"progress_callback got {done!r}")
        channel.say(progress=done)

    return _written(macro.run(progress))


def run_recipe(order: Message, channel: Channel) -> Message:
    """A recipe is a script: `__name__` is `__main__`, and what it leaves in its globals is of no matter."""
    os.environ.update(order["environment"])
    runpy.run_path(order["file"], run_name="__main__")
    return {"kind": "nothing"}


def run_form(order: Message, channel: Channel) -> Message:
    module = _module(order["file"])
    choices = module.do(order["payload"], order["config"], order["plugin_config"], order["inputs"])
    try:
        return {"form": json.loads(json.dumps(choices, allow_nan=False))}
    except (TypeError, ValueError) as error:
        raise BrokenContract("is-json", f"do() gave what is not JSON: {error}") from None


def run_webapp(order: Message, channel: Channel) -> Message:
    """Serves `backend.py`, in whose globals DSS puts Flask's `app`. Only the host's proxy knows the port."""
    import flask
    from werkzeug.serving import make_server

    app = flask.Flask("backend", static_folder=None)
    app.add_url_rule("/__ping", "__ping", lambda: "pong")
    names = {"app": app, "__name__": "__main__", "__file__": order["file"]}
    code = Path(order["file"]).read_text(encoding="utf-8")
    exec(compile(code, order["file"], "exec"), names)
    if names["app"] is not app:
        raise BrokenContract(
            "injected-app", "backend.py has an app of its own: DSS's health check finds nothing"
        )
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    channel.say(port=server.server_port)
    server.serve_forever()
    return {"kind": "nothing"}


def _module(file: str) -> Any:
    spec = importlib.util.spec_from_file_location("dku_plugin_component", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _runnable_in(module: Any) -> Any:
    from dataiku.runnables import Runnable

    found = [
        cls
        for cls in vars(module).values()
        if inspect.isclass(cls) and issubclass(cls, Runnable) and cls.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(sorted(cls.__name__ for cls in found)) or "none"
        raise BrokenContract("one-runnable", f"runnable.py defines {names} deriving from Runnable, not one")
    return found[0]


def _written(value: Any) -> Message:
    """What `run` returned, for the host, which knows what it has to be."""
    from dataiku.runnables import ResultTable

    if value is None:
        return {"kind": "nothing"}
    if isinstance(value, ResultTable):
        table = {"name": value.name, "columns": value.columns, "records": value.records}
        try:
            json.dumps(table, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise BrokenContract("is-json", f"the table: {error}") from None
        return {"kind": "table", "value": table}
    if isinstance(value, str):
        return {"kind": "text", "value": value}
    if isinstance(value, (tuple, list)) and all(isinstance(part, str) for part in value):
        return {"kind": "texts", "value": list(value)}
    return {"kind": type(value).__name__}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _line_of(error: BaseException, file: str) -> int | None:
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == file), None)


def confine(work: Path, data: Path) -> None:
    """The UNIX user of an end user: it may not see DSS's data, and write in the work folder only.

    What a real user could do elsewhere, such as in its home, is left out: a plugin cannot count on it.
    """
    work, data = work.resolve(), data.resolve()
    changes = frozenset(("os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"))

    def check(path: Any, writes: bool) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        place = Path(os.path.realpath(os.fsdecode(path)))
        if place.is_relative_to(work) or str(place).startswith(("/dev/", "/proc/")):
            return
        if writes or place.is_relative_to(data):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(path))

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            check(args[0], bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
        elif event in ("os.rename", "os.link", "os.symlink"):
            check(args[0], event == "os.rename")
            check(args[1], True)
        elif event in changes:
            check(args[0], True)
        elif event in ("os.listdir", "os.scandir"):
            check(args[0], False)

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
