"""The process that is under attack: it runs the plugin's model on queries that it reads from its input.

    python victim_process.py      with python-lib on PYTHONPATH; any Python that the plugin supports

One job a line, as JSON, and one line of outcomes back. Pauses between attempts take almost no time here.
Standard library only, and nothing of the plugin but its facade.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import pickle
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

if TYPE_CHECKING:
    from spcs_llm.model import Model

_LONGEST_PAUSE = 0.001
_LARGEST_TOLD = 1_000_000
_really_sleep = time.sleep
_written: list[str] = []  # what the plugin wrote to, or made, on disk
_signals: set[str] = set()  # files by which this process itself tells the other that it may go on

Json = dict[str, Any]  # a job, one of its queries, or what became of one


def _vendored_by_pip() -> None:
    """Makes pip's own copies of requests and urllib3 importable: a bare interpreter has no others."""
    for name in ("urllib3", "requests"):
        for part in (
            "",
            ".adapters",
            ".utils",
            ".exceptions",
            ".util",
            ".connection",
            ".connectionpool",
            ".poolmanager",
        ):
            with contextlib.suppress(ImportError):
                importlib.import_module(f"pip._vendor.{name}{part}")
    for name, module in list(sys.modules.items()):
        if name.startswith("pip._vendor."):
            sys.modules.setdefault(name[len("pip._vendor.") :], module)


class Trace:
    """What the plugin meets of DSS's span."""

    def __init__(self) -> None:
        self.attributes: Json = {}
        self.children: list[Any] = []

    def append_trace(self, span: Any) -> None:
        self.children.append(span)


class Log(logging.Handler):
    """Everything that any logger says, as a log file would show it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            self.lines.append(self.format(record)[:_LARGEST_TOLD])


_log = Log()


class Looked:
    """The names that are looked up; `found` False has every name but those of this machine be unknown."""

    def __init__(self) -> None:
        import socket

        self.names: list[str] = []
        look_up = socket.getaddrinfo

        def getaddrinfo(host: bytes | str | None, *args: Any, **options: Any) -> list[Any]:
            name = host.decode() if isinstance(host, bytes) else str(host)
            self.names.append(name)
            if name not in ("localhost", "::1") and not name.startswith("127."):
                raise socket.gaierror(socket.EAI_NONAME, "not looked up in tests")
            return look_up(host, *args, **options)

        socket.getaddrinfo = getaddrinfo


def _pause(seconds: float | SupportsIndex, /) -> None:
    _really_sleep(min(float(seconds), _LONGEST_PAUSE))


def main() -> None:
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes to the errors
    limit = int(os.environ.get("VICTIM_MEMORY", "0"))
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.environ.get("VICTIM_USES_PIP"):
        _vendored_by_pip()
    time.sleep = _pause
    looked = Looked()
    logging.getLogger().addHandler(_log)
    logging.getLogger().setLevel(logging.DEBUG)
    from spcs_llm.model import Model

    sys.addaudithook(_note_writing)
    models: dict[str, Model] = {}
    for line in sys.stdin:
        job = json.loads(line)
        _log.lines.clear()
        looked.names.clear()
        if "groups" in job:
            outcomes: Sequence[Any] = _side_by_side(job, Model)
        else:
            outcomes = _done(job, models, Model)
        result = {"outcomes": outcomes, "looked_up": list(looked.names), "written": list(_written)}
        told.write(json.dumps(result) + "\n")
        told.flush()


def _note_writing(event: str, arguments: tuple[Any, ...]) -> None:
    """Remembers what the plugin writes to, or makes, on disk."""
    if event == "open":
        path, _, flags = arguments
        if path in _signals:
            return
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not str(path).startswith(("/proc/", "/dev/")):
            _written.append(str(path))
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "tempfile.mkstemp", "tempfile.mkdtemp"):
        _written.append(f"{event} {arguments!r}")


def _done(job: Json, models: dict[str, Model], make: Callable[[Json], Model]) -> list[Json | None]:
    def model_of(query: Json) -> Model:
        key = json.dumps(query["config"], sort_keys=True)
        if key not in models:
            if len(models) > 200:
                models.clear()
            models[key] = make(query["config"])
        return models[key]

    if job.get("together"):
        return _together(job, [model_of(query) for query in job["queries"]])
    outcomes: list[Json | None] = []
    for query in job["queries"]:
        # Before the model: its template is read with it.
        watch = Watch(collecting=job.get("collecting", True)) if job.get("measure") else None
        outcomes.append(_asked(model_of(query), query, job, watch))
    return outcomes


def _side_by_side(job: Json, make: Callable[[Json], Model]) -> list[list[Json]]:
    """Each group's queries one after the other, many groups at a time."""
    from concurrent.futures import ThreadPoolExecutor

    def ask(group: list[Json]) -> list[Json]:
        models: dict[str, Model] = {}
        outcomes = []
        for query in group:
            if "poke" in query:
                _poke(*query["poke"])
            key = json.dumps(query["config"], sort_keys=True)
            if key not in models:
                models[key] = make(query["config"])
            outcomes.append(_asked(models[key], query, job))
        return outcomes

    with ThreadPoolExecutor(64) as pool:
        return list(pool.map(ask, job["groups"]))


def _poke(host: str, port: int) -> None:
    """Has a server do what it waits to be told to do; returns when it is done."""
    import socket

    with socket.create_connection((host, port), 10) as sock:
        sock.sendall(b"POKE / HTTP/1.1\r\n\r\n")
        sock.settimeout(10)
        while sock.recv(1024):
            pass


def _together(job: Json, models: Sequence[Model]) -> list[Json | None]:
    """The first query alone; once it is under way, all others; it goes on once they wait."""
    outcomes: list[Json | None] = [None] * len(models)

    def ask(at: int) -> None:
        outcomes[at] = _asked(models[at], job["queries"][at], job)

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(len(models))]
    threads[0].start()
    _until(lambda: os.path.exists(job["begun"]))  # noqa: PTH110
    for thread in threads[1:]:
        thread.start()
    _until(lambda: all(_waits(thread) for thread in threads[1:]))
    _signals.add(job["go"])
    open(job["go"], "w").close()  # noqa: PTH123
    for thread in threads:
        thread.join(30)
    return outcomes


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds() and time.monotonic() < end:
        _really_sleep(0.0005)


def _waits(thread: threading.Thread) -> bool:
    """Whether the thread stays at one place for a while, in this process where nothing else is slow."""
    places: set[tuple[int, int] | None] = set()
    for _ in range(10):
        frame = sys._current_frames().get(thread.ident or 0)
        places.add((id(frame), frame.f_lasti) if frame is not None else None)
        _really_sleep(0.002)
    return len(places) == 1 and None not in places


def _asked(model: Model, query: Json, job: Json, watch: Watch | None = None) -> Json:
    _really_sleep(query.get("after", 0))
    trace = Trace()
    verb, times = getattr(model, query["verb"]), query.get("times", 1)
    outcome: Json = {}
    said_before = len(_log.lines)
    for _ in range(times):
        try:
            outcome = {"answer": _answered(verb, query, trace)}
        except MemoryError:
            outcome = {"died": "out of memory"}
        except Exception as error:  # noqa: BLE001 - whatever comes out is what is looked at
            outcome = {"error": _described(error, job.get("secrets", ()))}
            del error
    outcome["log"] = _log.lines[said_before:]
    outcome["trace"] = _plain([trace.attributes, trace.children])
    if watch is not None:
        outcome.update(watch.seen())
    return outcome


def _answered(verb: Callable[..., Any], query: Json, trace: Trace) -> Any:
    answer = verb(query["query"], query.get("settings", {}), trace)
    if not isinstance(answer, dict):
        answer = list(answer)
    return _plain(answer)


def _plain(answer: Any) -> Any:
    """As JSON that DSS can take, or what is wrong with it as that."""
    try:
        text = json.dumps(answer, ensure_ascii=False, allow_nan=False)
        text.encode()
    except Exception as error:  # noqa: BLE001
        return {"NOT JSON": f"{type(error).__name__}: {str(error)[:200]}"}
    return (
        answer if len(text) <= _LARGEST_TOLD else {"LARGE": len(text), "largest_list": _largest_list(answer)}
    )


def _largest_list(value: Any) -> int:
    if isinstance(value, dict):
        return max([0, *map(_largest_list, value.values())])
    if isinstance(value, list):
        return max([len(value), *(_largest_list(item) for item in value if isinstance(item, (list, dict)))])
    return 0


def _described(error: Exception, secrets: Sequence[str]) -> Json:
    try:
        pickled = pickle.dumps(error).decode("latin-1")
    except Exception as failure:  # noqa: BLE001
        pickled = f"not pickled: {type(failure).__name__}"
    return {
        "type": type(error).__name__,
        "place": getattr(error, "place", None),
        "text": str(error),
        "repr": repr(error),
        "pickled": pickled,
        "traceback": _traceback(error),
        "held": sorted(_held(error, secrets)),
    }


def _traceback(error: Exception) -> str:
    import traceback

    return "".join(traceback.format_exception(type(error), error, error.__traceback__))[-_LARGEST_TOLD:]


def _held(error: Exception, secrets: Sequence[str]) -> Iterator[str]:
    """What the exceptions behind this one hold that an error reporter would send along."""
    seen: set[int] = set()
    waiting = [error.__context__, error.__cause__]
    while waiting:
        other = waiting.pop()
        if other is None or id(other) in seen:
            continue
        seen.add(id(other))
        waiting += [other.__context__, other.__cause__]
        waiting += [value for value in other.args if isinstance(value, BaseException)]
        name = type(other).__name__
        for attribute, value in vars(other).items():
            if type(value).__name__ in ("PreparedRequest", "Request", "Response"):
                yield f"{name}.{attribute}"
        text = f"{other!r} {vars(other)!r}"
        if any(secret in text for secret in secrets):
            yield f"{name} quotes"


class Watch:
    """Memory at its highest, CPU of all threads, and the longest time in which no other thread ran.

    Memory is counted from the process's least so far: what an earlier query left behind may serve the next. Not
    collecting, it counts no garbage collector, which looks at everything anew where a quarter has been added.
    """

    least = 1 << 62

    def __init__(self, *, collecting: bool = True) -> None:
        gc.collect()
        if not collecting:
            gc.disable()
        Watch.least = min(Watch.least, _memory("VmRSS"))
        with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123 - forgets the peak so far
            file.write("5")
        self._cpu, self._began = time.process_time(), time.monotonic()
        self._longest, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._over.wait(0.005):
            now = time.monotonic()
            self._longest, last = max(self._longest, now - last), now

    def seen(self) -> dict[str, float]:
        cpu, seconds, peak = time.process_time() - self._cpu, time.monotonic() - self._began, _memory("VmHWM")
        gc.enable()
        self._over.set()
        self._thread.join()
        return {
            "cpu": cpu,
            "seconds": seconds,
            "memory": peak - Watch.least,
            "kept": _memory("VmRSS") - Watch.least,
            "stall": self._longest,
        }


def _memory(name: str) -> int:
    with open("/proc/self/status") as file:  # noqa: PTH123
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))


if __name__ == "__main__":
    main()
