"""``perdure bench``: the workloads, beside the raw ceiling and another engine, measured in one run on this machine."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from perdure.bench.rounds import Plan

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
QUICK_SCALE = 0.1
PROFILE_ROUNDS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print. Gives 0 if every workload gave its figures, whatever they are; 1 if one failed; 2 if it could not begin."""
    from perdure.bench.slow_sync import NoSlowSync

    options = _parser().parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="perdure-bench-", dir=options.folder) as folder:
            return _run(options, Path(folder))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (OSError, NoSlowSync) as error:
        print(f"perdure bench: {error}", file=sys.stderr)
        return MISUSED


def _parser() -> argparse.ArgumentParser:
    from perdure.bench.rounds import ALL

    parser = argparse.ArgumentParser(prog="perdure bench", description="Measure Perdure on this machine, beside its raw ceiling.")
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes, one round, no peer unless --peers names it")
    parser.add_argument("--only", type=_some_of(ALL), default=ALL, metavar="W1,W2", help=f"of {', '.join(ALL)}")
    parser.add_argument("--store", type=_some_of(("memory", "sqlite")), default=("memory", "sqlite"), metavar="NAME", help="memory, sqlite")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each workload; medians are shown (default: 3)")
    parser.add_argument("--scale", type=float, metavar="FACTOR", help="multiply the sizes by this (default: 1)")
    loops = ("asyncio", "uvloop")
    parser.add_argument("--loop", choices=loops, default=loops[find_spec("uvloop") is not None], help="default: uvloop if it is installed")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="the folder with the peers' scripts (or BENCH_PEERS; ../shared/bench)")
    parser.add_argument("--no-peers", action="store_true", help="leave other engines out")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON lines there and not to standard output")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where databases are made: the disk that is measured")
    parser.add_argument("--profile", choices=("W1", "W2", "W3", "replay"), help="show where the time of one step goes, and nothing else")
    parser.add_argument("--slow-sync", type=int, metavar="US", help="add microseconds to every fsync (needs a C compiler and slowsync.c)")
    return parser


def _some_of(known: Sequence[str]) -> Callable[[str], Sequence[str]]:
    def parse(text: str) -> Sequence[str]:
        found = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in found if name not in known]
        if unknown or not found:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'} is not one of {', '.join(known)}")
        return [name for name in known if name in found]

    return parse


def _run(options: argparse.Namespace, folder: Path) -> int:
    from perdure.bench.peers import Peer, peers_folder
    from perdure.bench.progress import open_progress
    from perdure.bench.report import table
    from perdure.bench.rounds import Plan, measure, parts
    from perdure.bench.slow_sync import slowed

    peers = peers_folder(options.peers)
    environment = slowed(options.slow_sync, peers, folder) if options.slow_sync else {}
    scale = options.scale or (QUICK_SCALE if options.quick else 1.0)
    rounds = options.rounds or (1 if options.quick else 3)
    plan = Plan(options.only, options.store, rounds, scale, options.loop, folder, environment)
    if options.profile:
        return _profile(options.profile, plan)
    is_peer_wanted = peers is not None and not options.no_peers and not (options.quick and options.peers is None)
    peer = Peer(peers, environment) if is_peer_wanted and peers is not None else None
    if peer is not None:
        print("setting up the peer, if it is not there yet …", file=sys.stderr)
        peer.set_up()
    total = len(list(parts(plan, has_peer=peer is not None)))
    with _output(options.out) as output, open_progress(total) as progress:
        results = measure(plan, peer, progress, lambda result: progress.write(result.line(), output))
    print("\n".join(["", *table(results), *_notes(plan)]))
    return FAILED if any(result.unit == "failed" for result in results) else OK


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
