"""What workflow code must not touch, and what it should use instead."""

import asyncio
import os
import random
import threading
from collections.abc import Mapping
from datetime import date
from types import CodeType, ModuleType
from typing import Any

ACTION = "an @action"
LOOK = "an @action, or perdure.record(…) for a quick look"
NOW = "perdure.now()"
SPAN = "perdure.now(), or asyncio.get_running_loop().time() for a span"
SLEEP = "await asyncio.sleep(…), which is a durable timer"
RANDOM = "perdure.random()"
SECRET = "perdure.random(), or an @action for what must stay secret"
UUID = "perdure.uuid4()"
SETTINGS = "an argument of the workflow, or perdure.record(…)"
BRANCH = "asyncio.create_task(…) for a branch of the workflow, an @action for work in a thread"
BLOCKING = "asyncio.Lock, Event, Condition or Queue, which wait without holding the engine"
AWAIT = "await: the workflow has a loop of its own"
INPUT = "a signal"

# What the interpreter reports by itself (docs.python.org, "Audit events table").
_REPORTED = (
    ("open", LOOK, ""),
    ("os", LOOK, "chdir listdir listdrives listmounts listvolumes listxattr getxattr scandir walk fwalk"),
    ("os", ACTION, "chflags chmod chown link lockf mkdir remove removexattr rename rmdir setxattr symlink truncate utime"),
    ("os", ACTION, "exec fork forkpty kill killpg posix_spawn spawn startfile startfile/2 system"),
    ("os", SETTINGS, "putenv unsetenv"),
    ("time", SLEEP, "sleep"),
    ("_thread", BRANCH, "start_new_thread start_joinable_thread"),
    ("socket", ACTION, "__new__ bind connect sendmsg sendto getaddrinfo getnameinfo getservbyname getservbyport"),
    ("socket", ACTION, "gethostbyaddr gethostbyname gethostname sethostname"),
    ("subprocess", ACTION, "Popen"),
    ("sqlite3", ACTION, "connect"),
    ("http.client", ACTION, "connect send"),
    ("urllib", ACTION, "Request"),
    ("ftplib", ACTION, "connect sendcmd"),
    ("imaplib", ACTION, "open send"),
    ("poplib", ACTION, "connect putline"),
    ("smtplib", ACTION, "connect send"),
    ("shutil", ACTION, "chown copyfile copymode copystat copytree make_archive move rmtree unpack_archive"),
    ("tempfile", ACTION, "mkdtemp mkstemp"),
    ("glob", LOOK, "glob glob/2"),
    ("pathlib", LOOK, "Path.glob Path.rglob"),
    ("mmap", ACTION, "__new__"),
    ("fcntl", ACTION, "fcntl flock ioctl lockf"),
    ("pty", ACTION, "spawn"),
    ("signal", ACTION, "pthread_kill"),
    ("syslog", ACTION, "closelog openlog setlogmask syslog"),
    ("webbrowser", ACTION, "open"),
    ("builtins", INPUT, "input"),
)
EVENTS: Mapping[str, str] = {
    f"{module}.{name}" if name else module: instead for module, instead, names in _REPORTED for name in names.split() or [""]
}
"""Audit events to what should be used instead."""

_HOST = "getcwd getlogin getpid getppid cpu_count getloadavg times uname"
_FILES = "access fsync lstat pipe pread pwrite read stat waitpid write"
# What it does not report: who owns the C function (a module, or the type of the object it is bound to), and its names.
_UNREPORTED = (
    ("time", NOW, "time time_ns"),
    ("time", SPAN, "monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns thread_time thread_time_ns"),
    ("time", SPAN, "clock_gettime clock_gettime_ns"),
    ("time", SLEEP, "sleep"),
    ("date", NOW, "now today utcnow"),
    ("random", RANDOM, "random getrandbits seed getstate setstate"),
    ("posix", SECRET, "urandom getrandom"),
    ("posix", SETTINGS, _HOST),
    ("posix", LOOK, _FILES),
    ("nt", SECRET, "urandom"),
    ("nt", SETTINGS, _HOST),
    ("nt", LOOK, _FILES),
    ("_uuid", UUID, "generate_time_safe UuidCreate"),
    ("_thread", BRANCH, "start_new_thread start_joinable_thread"),
    ("_thread.lock", BLOCKING, "acquire"),
    ("_thread.RLock", BLOCKING, "acquire"),
    ("_socket.socket", ACTION, "accept connect connect_ex recv recv_into recvfrom recvmsg send sendall sendmsg sendto"),
    ("sqlite3.Connection", ACTION, "execute executemany executescript commit rollback"),
    ("sqlite3.Cursor", ACTION, "execute executemany executescript fetchone fetchmany fetchall"),
    ("_io.FileIO", ACTION, "read readall readinto write"),
    ("_io.BufferedReader", ACTION, "read read1 readinto readline peek"),
    ("_io.BufferedWriter", ACTION, "write flush"),
    ("_io.TextIOWrapper", ACTION, "read readline write"),
    ("select", ACTION, "select"),
)
CALLS: Mapping[str, Mapping[str, str]] = {
    name: {owner: instead for owner, instead, names in _UNREPORTED if name in names.split()}
    for *_, listed in _UNREPORTED
    for name in listed.split()
}
"""Names of C functions, to their owners, to what should be used instead."""

_PYTHON = (
    (os._Environ.__getitem__, SETTINGS),
    (os._Environ.__iter__, SETTINGS),
    (threading.Condition.wait, BLOCKING),
    (threading.Thread.join, BLOCKING),
    (asyncio.run, AWAIT),
    (asyncio.Runner.run, AWAIT),
    (asyncio.new_event_loop, AWAIT),
    (random.Random.seed, RANDOM),
)
FUNCTIONS: Mapping[str, Mapping[CodeType, str]] = {
    function.__name__: {other.__code__: instead for other, instead in _PYTHON if other.__name__ == function.__name__}
    for function, _ in _PYTHON
}
"""Names of Python functions, to their code, to what should be used instead."""

_SEED = random.Random.seed.__code__


def instead_of_call(function: Any) -> str | None:
    """Tell what to use instead of a C function; ``None`` for one that is harmless."""
    owners = CALLS.get(function.__name__)
    if owners is None:
        return None
    return next((owners[owner] for owner in _owners(function.__self__) if owner in owners), None)


def instead_of_function(code: CodeType, first: Any) -> str | None:
    """Tell what to use instead of a Python function; ``first`` is its first argument after ``self``. A seed makes chance repeatable."""
    if code is _SEED and first is not None:
        return None
    return FUNCTIONS[code.co_name].get(code)


def _owners(bound: Any) -> tuple[str, ...]:
    if isinstance(bound, ModuleType):
        return (bound.__name__,)
    if isinstance(bound, type):
        return ("date",) if issubclass(bound, date) else ()
    if bound is random._inst:
        return ("random",)
    return tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in type(bound).__mro__)


def name_of_owner(bound: Any) -> str:
    """Name what a C function belongs to as an author would."""
    if bound is random._inst:
        return "random"
    return str(getattr(bound, "__name__", type(bound).__name__))
