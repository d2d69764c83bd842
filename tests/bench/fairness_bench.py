#!/usr/bin/python3
"""Two guests of one pair of hosts under equal load: does each get its half of the processors and of the link?

pg and pg2 (256 MiB, disks, 1 vCPU) have a ledger client each, which inserts rows as fast as they are
acknowledged: one on each host (the replicas crosswise), then both on one host, then the same over a link of
100 Mbit/s. The shares are what one guest did against the other: rows, and p50 of seal to commit. In between
pg2 is under pgbench with 4 clients, and what pg's client notices of it is told. All hosts and clients share
this machine.

    fairness_bench.py [--rounds 3] [--seconds 8] [--link tcp] [--output build/fairness-bench.json]
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/lab"))

from labkit import machine, story  # noqa: E402
from labkit.hosts import Hosts  # noqa: E402
from labkit.plan import LINKS, LabError  # noqa: E402
from labkit.shell import interruption  # noqa: E402

GUESTS = ("pg", "pg2")
CLIENTS = 4
NARROW = "100mbit"
LEDGER_SECONDS = 5
PATIENCE = 60


class Bench:
    def __init__(self, hosts: Hosts, directory: Path, options):
        self.hosts, self.directory, self.options = hosts, directory, options

    def round(self, homes: dict) -> dict:
        """Each guest's rows and commits while both work."""
        with story.LedgerProcess(self.hosts, self.directory, "one", "pg") as one, \
                story.LedgerProcess(self.hosts, self.directory, "two", "pg2") as two:
            ledgers = {"pg": one, "pg2": two}
            for ledger in ledgers.values():
                ledger.wait_acks(5, PATIENCE)
            begin = time.monotonic_ns()
            time.sleep(self.options.seconds)
            rows = {name: sum(ack.monotonic_ns >= begin for ack in ledger.acks()) for name, ledger in ledgers.items()}
            seen = {name: self.hosts.guest(homes[name], name) for name in GUESTS}
            for name, ledger in ledgers.items():
                if failure := ledger.stop().failure:
                    raise story.StoryError(f"the ledger of {name} ended: {failure}")
        return {name: {"rows": rows[name] / self.options.seconds,
                       "commit_ms": seen[name]["commit_latency_us"]["p50"] / 1e3,
                       "epochs": seen[name]["epochs_per_second_milli"] / 1e3} for name in GUESTS}

    def rounds(self, title: str, homes: dict) -> dict:
        rounds = []
        for _ in range(self.options.rounds):
            rounds.append(self.round(homes))
            print(f"{title}: " + "; ".join(
                f"{name} {one['rows']:.1f} rows/s, commit p50 {one['commit_ms']:.1f} ms,"
                f" {one['epochs']:.1f} epochs/s" for name, one in rounds[-1].items())
                + f"; load {os.getloadavg()[0]:.1f}", flush=True)
        ratio = {what: statistics.median(max(a, b) / max(min(a, b), 1e-9) for one in rounds
                                         for a, b in [[one[name][what] for name in GUESTS]])
                 for what in ("rows", "commit_ms")}
        share = statistics.median(one["pg"]["rows"] / max(one["pg"]["rows"] + one["pg2"]["rows"], 1e-9) for one in rounds)
        print(f"{title}: pg has {share:.0%} of the rows (median); the larger to the smaller of a round:"
              f" rows {ratio['rows']:.2f}, commit p50 {ratio['commit_ms']:.2f}", flush=True)
        return {"rounds": rounds, "pg_share": share, "ratio": ratio}

    def neighbour(self) -> dict:
        """Rows a second of pg's ledger, and its longest silence, without and with pg2 under load."""
        found = {}
        for title in ("neighbour idle", "neighbour busy"):
            with story.LedgerProcess(self.hosts, self.directory, "one", "pg") as ledger:
                ledger.wait_acks(5, PATIENCE)
                load = story.Background(self.hosts, self.hosts.database_of("pg2").load_command(PATIENCE, CLIENTS),
                                        self.directory / "load.log") if title.endswith("busy") else None
                time.sleep(1)
                begin = time.monotonic_ns()
                time.sleep(LEDGER_SECONDS)
                acks = [ack for ack in ledger.acks() if ack.monotonic_ns >= begin]
                ledger.stop()
                if load:
                    load.kill()
            waits = [(b.monotonic_ns - a.monotonic_ns) / 1e6 for a, b in zip(acks, acks[1:])]
            found[title] = {"rows_per_second": len(acks) / LEDGER_SECONDS, "reply_p50_ms": statistics.median(waits),
                            "reply_max_ms": max(waits)}
            print(f"{title}: pg's client has {found[title]['rows_per_second']:.1f} rows/s, reply p50"
                  f" {found[title]['reply_p50_ms']:.1f} ms, longest {found[title]['reply_max_ms']:.0f} ms", flush=True)
        return found


def measure(options) -> dict:
    hosts = Hosts(f"fair{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as directory:
        try:
            hosts.up(guest_name="pg-disk", memory_mib=256, beacon_ms=0, link=options.link, others=[{"home": "b"}])
            hosts.order("a", "start", "pg")
            hosts.order("b", "start", "pg2")
            for name in GUESTS:
                hosts.wait_database(name)
            hosts.protect("a", "b", "pg")
            hosts.protect("b", "a", "pg2")
            bench = Bench(hosts, Path(directory), options)
            numbers = {"crosswise": bench.rounds("crosswise", {"pg": "a", "pg2": "b"}),
                       "neighbour": bench.neighbour()}
            hosts.order("b", "switchover", "pg2")
            hosts.wait_protected("a", "b", "pg2")
            together = {"pg": "a", "pg2": "a"}
            numbers["one host"] = bench.rounds("one host", together)
            hosts.lab.network.narrow("a", "b", NARROW)
            numbers["narrow link"] = bench.rounds(f"one host, {NARROW}", together)
            return numbers
        except BaseException:
            hosts.save_logs(REPOSITORY / "build/test-logs/fairness-bench")
            raise
        finally:
            hosts.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--link", choices=LINKS, default="tcp")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build/fairness-bench.json")
    options = parser.parse_args()
    interruption.install()
    print(machine.line(), flush=True)
    try:
        numbers = measure(options)
    except (story.StoryError, LabError) as error:
        print(f"fairness bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine.describe(), "link": options.link, **numbers}, indent=2)
                              + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
