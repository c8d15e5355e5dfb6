"""A process that has imported everything and is forked for each life, so that 200 deaths cost no 200 imports.

Reads a life as a line of JSON, writes how it ended as a line: the exit code, or minus the signal.
"""

import asyncio
import os
import select
import signal
import sys

from msgspec import json

from tests.crash.program import Life, live


def fork(life: Life) -> int:
    """Give the process id of the new life."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        asyncio.run(live(life))
        code = 0
    finally:
        os._exit(code)


def wait(pid: int, kill_s: float | None) -> int:
    """Wait for its end, and bring it about after so many seconds."""
    ended = os.pidfd_open(pid)
    if kill_s is not None and not select.select([ended], [], [], kill_s)[0]:
        os.kill(pid, signal.SIGKILL)
    os.close(ended)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    for line in sys.stdin:
        life = json.decode(line, type=Life)
        sys.stdout.write(f"{wait(fork(life), life.kill_s)}\n")
        sys.stdout.flush()
