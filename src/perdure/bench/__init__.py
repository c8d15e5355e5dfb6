"""``perdure bench``: the workloads, beside the raw ceiling and other engines, measured in one run on this machine."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from perdure.bench.peers import Peer
    from perdure.bench.result import Result
    from perdure.bench.rounds import Plan
    from perdure.bench.servers import Servers

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
QUICK_SCALE = 0.1
PROFILE_ROUNDS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print. Gives 0 if every workload gave its figures, whatever they are; 1 if one failed; 2 if it could not begin."""
    from perdure.bench.servers import NoServer
    from perdure.bench.slow_sync import NoSlowSync

    options = _parser().parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="perdure-bench-", dir=options.folder) as folder, ExitStack() as stack:
            return _run(options, Path(folder), stack)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (OSError, NoSlowSync, NoServer) as error:
        print(f"perdure bench: {error}", file=sys.stderr)
        return MISUSED


def _parser() -> argparse.ArgumentParser:
    from perdure.bench.rounds import ALL, DEFAULT, ONLY_NAMED, STORES

    parser = argparse.ArgumentParser(prog="perdure bench", description="Measure Perdure on this machine, beside its raw ceiling.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes, one round, no peer unless --peers names it")
    some = f"of {', '.join(DEFAULT)} and, only when named, {', '.join(ONLY_NAMED)}"
    parser.add_argument("--only", type=_some_of(ALL), metavar="W1,W2", help=some)
    parser.add_argument("--store", type=_some_of(STORES), default=STORES, metavar="NAME", help=", ".join(STORES))
    server = "the server to measure (or PERDURE_BENCH_POSTGRES, BENCH_PG; default: one on this machine)"
    parser.add_argument("--postgres", metavar="URL", help=server)
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each workload; medians are shown (default: 3)")
    parser.add_argument("--scale", type=float, metavar="FACTOR", help="multiply the sizes by this (default: 1)")
    parser.add_argument("--full", action="store_true", help="up to a million stored or sleeping runs: takes long, needs gigabytes")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="N", help="how long bloat goes on (default: 60)")
    loops = ("asyncio", "uvloop")
    parser.add_argument("--loop", choices=loops, default=loops[find_spec("uvloop") is not None], help="default: uvloop if it is installed")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="the folder with the peers' scripts (or BENCH_PEERS; ../shared/bench)")
    parser.add_argument("--no-peers", action="store_true", help="leave other engines out")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON lines there and not to standard output")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where databases are made: the disk that is measured")
    parser.add_argument("--profile", choices=("W1", "W2", "W3", "replay"), help="show where the time of one step goes, and nothing else")
    slower = "add microseconds to every fsync (needs a C compiler, slowsync.c and, for PostgreSQL, an installed server)"
    parser.add_argument("--slow-sync", type=int, metavar="US", help=slower)
    return parser


def _some_of(known: Sequence[str]) -> Callable[[str], Sequence[str]]:
    def parse(text: str) -> Sequence[str]:
        found = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in found if name not in known]
        if unknown or not found:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is not one of {', '.join(known)}")
        return [name for name in known if name in found]

    return parse


def _run(options: argparse.Namespace, folder: Path, stack: ExitStack) -> int:
    from perdure.bench.progress import open_progress
    from perdure.bench.report import table
    from perdure.bench.rounds import measure, parts

    plan, skipped = _plan(options, folder, stack)
    if not plan.stores:
        print(f"perdure bench: {skipped[0].settings['problem']}", file=sys.stderr)
        return MISUSED
    if options.profile:
        return _profile(options.profile, plan)
    peers = _peers(options, plan)
    total = len(list(parts(plan, [peer.kind for peer in peers])))
    with _output(options.out) as output, open_progress(total) as progress:
        for result in skipped:
            progress.write(result.line(), output)
        results = measure(plan, peers, progress, lambda result: progress.write(result.line(), output))
    print("\n".join(["", *table([*skipped, *results]), *_notes(plan)]))
    return FAILED if any(result.unit == "failed" and result.peer == "perdure" for result in results) else OK


def _plan(options: argparse.Namespace, folder: Path, stack: ExitStack) -> "tuple[Plan, list[Result]]":
    """Give what to measure, and what cannot be measured here."""
    from perdure.bench.peers import peers_folder
    from perdure.bench.result import Result
    from perdure.bench.rounds import DEFAULT, Plan
    from perdure.bench.servers import POSTGRES, Servers
    from perdure.bench.slow_sync import slowed

    environment = slowed(options.slow_sync, peers_folder(options.peers), folder) if options.slow_sync else {}
    servers = _servers(options, environment, stack) if POSTGRES in options.store else Servers({})
    stores = [name for name in options.store if name != POSTGRES] + list(servers.urls)
    skipped = [] if not servers.problem else [Result("perdure", "all", None, "skipped", {"store": POSTGRES, "problem": servers.problem})]
    plan = Plan(
        options.only or (*DEFAULT, *(["W5M"] if options.full else [])),
        stores,
        options.rounds or (1 if options.quick else 3),
        options.scale or (QUICK_SCALE if options.quick else 1.0),
        options.loop,
        folder,
        environment,
        servers=servers.urls,
        is_full=options.full,
        seconds=options.seconds,
    )
    return plan, skipped


def _servers(options: argparse.Namespace, environment: dict[str, str], stack: ExitStack) -> "Servers":
    from perdure.bench.servers import NoServer, find_server, slowed_servers

    if not environment:
        return find_server(options.postgres)
    if options.postgres:
        raise NoServer("--slow-sync slows a server of our own and not that of --postgres; leave one of them out")
    return stack.enter_context(slowed_servers(options.folder, environment))


def _peers(options: argparse.Namespace, plan: "Plan") -> "list[Peer]":
    """Give the peers that are laid beside what is measured, each installed or with the reason why it is not."""
    from perdure.bench.peers import KINDS, Peer, peers_folder
    from perdure.bench.servers import POSTGRES

    folder = peers_folder(options.peers)
    if folder is None or options.no_peers or (options.quick and options.peers is None):
        return []
    environment = dict(plan.environment)
    if POSTGRES in plan.servers:
        from perdure.bench.postgres.server import without_database

        environment["BENCH_PG"] = without_database(plan.servers[POSTGRES])
    found = [Peer(folder, kind, environment) for kind in KINDS if kind.store in plan.stores and set(kind.workloads) & set(plan.only)]
    for peer in found:
        print(f"setting up {peer.kind.title}, if it is not there yet …", file=sys.stderr)
        peer.set_up()
    return found


def _profile(workload: str, plan: "Plan") -> int:
    from perdure.bench.rounds import run_profile

    store = plan.stores[-1]
    print(f"{workload} on {store}, {plan.loop}")
    return run_profile(plan, workload, store, PROFILE_ROUNDS)


def _notes(plan: "Plan") -> list[str]:
    notes = ["", f"Rounds: {plan.rounds}, medians shown; event loop {plan.loop}. Compare ratios, not figures of different runs."]
    if plan.scale != 1.0:
        notes.append(f"A short run: sizes × {plan.scale:g}. The bars are meant for full sizes.")
    return notes


def _output(path: Path | None) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdout) if path is None else path.open("w", encoding="utf-8")
