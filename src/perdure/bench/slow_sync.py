"""A slower disk: a library that is loaded before all others adds time to every fsync. Group commit shows its worth only with it."""

import os
import shutil
import subprocess
from pathlib import Path


class NoSlowSync(Exception):
    """Why no fsync can be slowed down here."""


def slowed(span_us: int, peers: Path | None, folder: Path) -> dict[str, str]:
    """Give what a child's environment needs for slower fsyncs. Raises `NoSlowSync`."""
    source = None if peers is None else peers / "slowsync.c"
    if source is None or not source.is_file():
        raise NoSlowSync(
            f"--slow-sync needs slowsync.c in the folder of the peers; found {source or 'no such folder'}; name it with --peers"
        )
    compiler = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if compiler is None:
        raise NoSlowSync("--slow-sync needs a C compiler, and none of cc, gcc, clang is there")
    library = folder / "slowsync.so"
    made = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise NoSlowSync(f"--slow-sync: {compiler} did not compile {source}: {made.stderr.strip().splitlines()[-1]}")
    before = os.environ.get("LD_PRELOAD")
    return {"LD_PRELOAD": f"{library} {before}" if before else str(library), "SLOWSYNC_US": str(span_us)}
