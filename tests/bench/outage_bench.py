#!/usr/bin/python3
"""What a client notices when the host of its guest dies: many kills in one lab, healed between.

Host a dies, then b, then a ..., at a random moment, while a ledger client and the database's own benchmark
with 8 clients (`--clients`; 0: the ledger alone) are at work. Times are from the kill; the longest gap is that
between two replies to the ledger. Both
hosts, the witness, the guest and the clients share the machine, whose load is noted with each kill. A round
takes 15 to 20 s. Every kill must pass all checks of labkit.kill_story: no row lost, no connection reset; the
database's own checker, which reads all of it, after the last kill.

    outage_bench.py [--kills 30] [--guest pg] [--memory 1024] [--clients 8] [--link tcp] [--seed N]
                    [--output build/outage-bench.json]
"""

import argparse
import json
import math
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/lab"))

from labkit import guest, kill_story, machine  # noqa: E402
from labkit.hosts import Hosts  # noqa: E402
from labkit.plan import LINKS, LabError  # noqa: E402
from labkit.shell import interruption  # noqa: E402
from labkit.story import StoryError  # noqa: E402

KILL_AFTER = (0.5, 3.0)
GAP_P50_MS = 600  # to reach
NAMES = {"decision": "kill to quorum decision", "promoted": "kill to guest running",
         "first_reply": "kill to first reply", "longest_gap": "longest gap at the client"}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--guest", choices=guest.names(), default="pg")
    parser.add_argument("--memory", type=int, default=1024, help="of the guest, MiB")
    parser.add_argument("--clients", type=int, default=8, help="of the benchmark beside the ledger")
    parser.add_argument("--link", choices=LINKS, default="tcp")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build/outage-bench.json")
    return parser.parse_args()


def quantile(values: list[float], part: float) -> float:
    """The smallest value that `part` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def summary(kills: list[dict]) -> dict:
    return {name: {"p50": statistics.median(values), "p99": quantile(values, 0.99), "max": max(values)}
            for name in NAMES for values in [[kill[name] for kill in kills]]}


def one_kill(hosts: Hosts, directory: Path, delay: float, victim: str, survivor: str, clients: int, last: bool) -> dict:
    result = kill_story.KillResult()
    load = os.getloadavg()[0]
    kill_story.tell(hosts, directory, delay, result, victim=victim, survivor=survivor, clients=clients,
                    examine=last)
    if result.failures():
        raise StoryError("; ".join(result.failures()))
    return {**{name: getattr(result.outage, name) for name in NAMES}, "promotion": result.promotion_ms,
            "rows": result.ledger.acknowledged, "delay_s": delay, "load": load}


def measure(options, kills: list[dict]):
    moments = random.Random(options.seed)
    hosts = Hosts(f"out{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as directory:
        try:
            hosts.up(guest_name=options.guest, memory_mib=options.memory, link=options.link)
            hosts.start_guest("a")
            hosts.protect("a", "b")
            for number in range(options.kills):
                victim, survivor = "ab" if number % 2 == 0 else "ba"
                if number:
                    hosts.heal(survivor, victim)
                kills.append(one_kill(hosts, Path(directory), moments.uniform(*KILL_AFTER), victim, survivor,
                                      options.clients, last=number + 1 == options.kills))
                print(f"kill {number + 1}: " + ", ".join(f"{name} {kills[-1][name]:.0f}" for name in NAMES)
                      + f" ms; load {kills[-1]['load']:.1f}", flush=True)
        except BaseException:
            hosts.save_logs(REPOSITORY / "build/test-logs/outage-bench")
            raise
        finally:
            hosts.close()


def main() -> int:
    options = parse_arguments()
    interruption.install()
    print(f"seed {options.seed}; {machine.line()}", flush=True)
    kills: list[dict] = []
    failure = ""
    try:
        measure(options, kills)
    except (StoryError, LabError) as error:
        failure = str(error)
        print(f"outage bench: {failure}", file=sys.stderr)
    except KeyboardInterrupt:
        failure = "interrupted"
    if not kills:
        return 1
    numbers = summary(kills)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(
        {"machine": machine.describe(), "seed": options.seed, "guest": options.guest, "link": options.link,
         "clients": options.clients, "failure": failure, "summary_ms": numbers, "kills": kills}, indent=2) + "\n")
    for name, title in NAMES.items():
        print(f"  {title:<28} p50 {numbers[name]['p50']:6.0f}  p99 {numbers[name]['p99']:6.0f}"
              f"  max {numbers[name]['max']:6.0f} ms" + (f"   p50 to reach: {GAP_P50_MS}" if name == "longest_gap" else ""))
    print(f"{len(kills)} kills, {sum(kill['rows'] for kill in kills)} rows, none lost; median load"
          f" {statistics.median(kill['load'] for kill in kills):.1f}; {options.output}")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
