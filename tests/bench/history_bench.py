#!/usr/bin/python3
"""What a history costs: pgbench in a protected guest whose backup keeps one, and keeps none, in turns.

One guest (pg-disk, PostgreSQL 15 with fsync, 8 clients) runs all the time; the backup's daemon is
restarted with the other configuration, and the guest is protected to it again. Both hosts, the guest
and the client share the machine. Each round's ratio is taken of its two neighbours.

    history_bench.py [--rounds 3] [--seconds 10] [--json FILE]
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from labkit.host import DAEMON  # noqa: E402
from labkit.hosts import GUEST, Hosts  # noqa: E402
from labkit.story import StoryError  # noqa: E402

WARM_UP_SECONDS = 3
MEMORY_MIB = 512
HISTORY = "  history { depth_s: 3600 }"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


class Bench:
    def __init__(self, hosts: Hosts, directory: Path, seconds: int):
        self.hosts = hosts
        self.directory = directory
        self.seconds = seconds

    def configure(self, kept: bool):
        """Of the backup, b: its daemon dies and comes back."""
        path = self.hosts.lab.host("b").directory / "lab/understudy.conf"
        without = re.sub(r"\n  history \{[^\n]*", "", path.read_text())
        path.write_text(re.sub(r"(\n  drill \{[^\n]*)", rf"\1\n{HISTORY}", without) if kept else without)
        self.hosts.lab.kill_service("b", DAEMON)
        self.hosts.wait_state("a", "UNPROTECTED", 20)
        self.hosts.lab.start_service("b", DAEMON)
        self.hosts.wait_protected("a", "b")

    def measure(self, kept: bool) -> dict:
        self.configure(kept)
        self.hosts.run_load(WARM_UP_SECONDS, self.directory)
        run = self.hosts.run_load(self.seconds, self.directory)
        if not run.finished or run.failed:
            raise StoryError(f"pgbench failed: {run.errors[:1]}")
        seen = self.hosts.guest("a")
        one = {"tps": run.tps, "commit_p50_ms": seen["commit_latency_us"]["p50"] / 1000,
               "commit_p99_ms": seen["commit_latency_us"]["p99"] / 1000}
        if kept:
            history = json.loads(self.hosts.order("b", "history", GUEST, "--json"))["history"]
            one |= {"points": int(history["points"]), "history_mib": int(history["bytes"]) / 2**20,
                    "losses": int(history.get("losses", 0))}
        return one


def tell(rounds: list[dict]):
    ratios = [one["with"]["tps"] / one["without"]["tps"] for one in rounds]
    print(f"pgbench with a history / without: {' '.join(f'{ratio:.2f}' for ratio in ratios)},"
          f" median {statistics.median(ratios):.2f}")
    for name in ("commit_p50_ms", "commit_p99_ms"):
        values = {kind: statistics.median(one[kind][name] for one in rounds) for kind in ("without", "with")}
        print(f"{name}, medians: without {values['without']:.1f}, with {values['with']:.1f}")


def main() -> int:
    options = arguments()
    hosts = Hosts(f"bench{os.getpid()}")
    rounds = []
    with tempfile.TemporaryDirectory() as directory:
        try:
            hosts.up(guest_name="pg-disk", memory_mib=MEMORY_MIB)
            hosts.start_guest("a")
            hosts.protect("a", "b")
            bench = Bench(hosts, Path(directory), options.seconds)
            for number in range(1, options.rounds + 1):
                order = ("without", "with") if number % 2 else ("with", "without")
                rounds.append({kind: bench.measure(kind == "with") for kind in order})
                print(f"round {number}, load average {os.getloadavg()[0]:.1f}: {json.dumps(rounds[-1])}",
                      flush=True)
        finally:
            hosts.close()
    tell(rounds)
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
