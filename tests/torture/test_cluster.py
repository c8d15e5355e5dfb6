"""The private cluster and the moved clock do what the torture believes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.torture.clock import HOUR_NS, MovedClock, compile_shim
from tests.torture.cluster import Cluster, private_cluster
from tests.torture.requirements import skip_without_compiler, skip_without_server

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    skip_without_server()
    with private_cluster("sync") as cluster:
        yield cluster


def test_what_is_committed_outlives_a_crash_and_a_fail_over_and_a_new_standby_follows(cluster: Cluster) -> None:
    cluster.primary.sql("create table kept (n int); insert into kept values (1)")
    cluster.restart(crash=True)
    cluster.primary.until("select sync_state from pg_stat_replication", "sync")
    cluster.primary.sql("insert into kept values (2)")
    cluster.fail_over()
    assert cluster.primary.sql("select array_agg(n order by n) from kept") == "{1,2}"
    cluster.attach_standby()
    cluster.primary.sql("insert into kept values (3)")
    cluster.fail_over()
    assert cluster.primary.sql("select array_agg(n order by n) from kept") == "{1,2,3}"


def test_the_servers_die_with_the_process_that_made_them(tmp_path: Path) -> None:
    skip_without_server()
    said = tmp_path / "said"
    program = (
        "import sys, time\n"
        "from tests.torture.cluster import private_cluster\n"
        "with private_cluster() as cluster:\n"
        f"    open({str(said)!r}, 'w').write(f'{{cluster.primary.folder}} {{cluster.primary.pid}}\\n')\n"
        "    time.sleep(60)\n"
    )
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", program], cwd=root)
    wait_until(lambda: said.exists() and said.read_text().endswith("\n"))
    process.kill()
    process.wait(10)
    folder, pid = said.read_text().split()
    wait_until(lambda: not Path("/proc", pid).exists())
    shutil.rmtree(Path(folder).parent)


def wait_until(holds: Callable[[], bool], within_s: float = 30) -> None:
    end_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.05)


def test_a_moved_clock_moves_the_calendar_at_once_and_no_span(tmp_path: Path) -> None:
    skip_without_compiler()
    clock = MovedClock(tmp_path / "ahead", compile_shim(tmp_path))
    program = (
        "import sys, time, datetime\n"
        "for line in sys.stdin:\n"
        "    print(time.time_ns(), int(datetime.datetime.now().timestamp() * 1e9), time.monotonic_ns(), flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **clock.environment}
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process, process.stdin:
        for ahead_ns in (0, HOUR_NS, -HOUR_NS):
            clock.move(ahead_ns)
            process.stdin.write("now\n")
            process.stdin.flush()
            *calendars, monotonic_ns = map(int, process.stdout.readline().split())
            assert all(abs(found - ahead_ns - time.time_ns()) < 10e9 for found in calendars)
            assert abs(monotonic_ns - time.monotonic_ns()) < 10e9
