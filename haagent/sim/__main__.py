"""Many seeds, in all cores: ``python -m haagent.sim --seeds 2000``.

Prints each violation, and what was simulated in what time; the exit status is 1 when there was
a violation.  With ``--crash`` it measures failovers instead, with ``--shrink SEED`` it prints the
smallest scenario that still fails as a file for ``tests/sim/scenarios``.
"""

import gc
import sys
from argparse import ArgumentParser
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import product, repeat
from statistics import quantiles
from time import perf_counter, process_time
from traceback import format_exception_only
from typing import NamedTuple

from haagent.sim.failover import INTERVAL, failover
from haagent.sim.scenario import written
from haagent.sim.shrink import failures, shrink
from haagent.sim.swarm import draw, simulate

CHUNK = 8
"""Seeds that a process takes at once."""

AGENTS = (2, 3, 5)
LOSSES = (0.0, 0.01, 0.05)


def main() -> int:
    """Run what the command line asks for."""
    parser = ArgumentParser(prog="python -m haagent.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many (default: %(default)s)")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--jobs", type=int, help="processes (default: as many as cores)")
    parser.add_argument(
        "--crash", action="store_true", help="measure as many failovers for each row of a table"
    )
    parser.add_argument(
        "--shrink", type=int, metavar="SEED", help="make this seed's scenario small"
    )
    options = parser.parse_args()
    if options.shrink is not None:
        return _shrink(options.shrink)
    if options.seeds < 2 or (options.jobs is not None and options.jobs < 1):
        parser.error("--seeds must be 2 or more, --jobs 1 or more")
    seeds = range(options.first, options.first + options.seeds)
    with ProcessPoolExecutor(options.jobs, initializer=_collect_seldom) as pool:
        return _measure(pool, seeds) if options.crash else _check(pool, seeds)


def _collect_seldom() -> None:
    """What is imported stays, as in the daemon; there is hardly a cycle in the rest."""
    gc.freeze()
    gc.set_threshold(20_000)


class _Outcome(NamedTuple):
    """What came of one seed, small enough to be sent to another process."""

    seed: int
    violations: tuple[str, ...]
    node_seconds: float
    cpu_seconds: float


def _check(pool: Executor, seeds: range) -> int:
    begin = perf_counter()
    failed = node_seconds = cpu_seconds = 0.0
    for outcome in pool.map(_run, seeds, chunksize=CHUNK):
        for violation in outcome.violations:
            print(f"seed {outcome.seed}: {violation}", flush=True)
        failed += bool(outcome.violations)
        node_seconds += outcome.node_seconds
        cpu_seconds += outcome.cpu_seconds
    took = perf_counter() - begin
    print(
        f"{len(seeds)} seeds, {failed:.0f} with violations, in {took:.1f} s:"
        f" {len(seeds) / took:.1f} seeds/s, {node_seconds / took:.0f} node-s/s,"
        f" {node_seconds / cpu_seconds:.0f} node-s per second of processor time"
    )
    return 1 if failed else 0


def _run(seed: int) -> _Outcome:
    begin = process_time()
    try:
        result = simulate(seed)
    except Exception as error:  # A core that raises breaks its contract, and is a find like others.
        return _Outcome(seed, ("".join(format_exception_only(error)).strip(),), 0, 0)
    node_seconds = result.node_time / 1e9
    return _Outcome(seed, result.violations, node_seconds, process_time() - begin)


def _shrink(seed: int) -> int:
    scenario = draw(seed)
    if not failures(scenario):
        print(f"seed {seed} breaks no rule", file=sys.stderr)
        return 1
    small = shrink(scenario)
    print(f"# {failures(small)[0]}\n{written(small)}", end="")
    return 0


def _measure(pool: Executor, seeds: range) -> int:
    print(
        f"from a crash to the first answer of another host, in intervals of {INTERVAL / 1e6:.0f} ms"
    )
    print("agents  loss  samples   p50   p99   max")
    failed = 0
    for loss, count in product(LOSSES, AGENTS):
        found = pool.map(failover, seeds, repeat(count), repeat(loss), chunksize=CHUNK)
        times = [time / INTERVAL for time in found if time is not None]
        failed += len(seeds) - len(times)
        cuts = quantiles(times, n=100, method="inclusive")
        figures = " ".join(f"{figure:5.2f}" for figure in (cuts[49], cuts[98], max(times)))
        print(f"{count:6} {loss:5.0%} {len(times):8} {figures}", flush=True)
    if failed:
        print(f"{failed} samples had no single master before the crash, or none after it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
