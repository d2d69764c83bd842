#!/usr/bin/python3
"""The numbers of the README, measured: pause, promotion, outage and what protection costs pgbench.

Rounds of pgbench without and with protection take turns in one guest, and each is compared with its
neighbours, so that a machine which gets slower or faster meanwhile does it to both. Then the host dies several times. Prints a table and
writes build/bench.json, with the machine's name on both.
"""

import argparse
import itertools
import json
import os
import random
import signal
import statistics
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/lab"))

from labkit import kill_story, machine, story  # noqa: E402
from labkit.hosts import GUEST, Hosts  # noqa: E402
from labkit.plan import LabError  # noqa: E402
from labkit.progress import Progress  # noqa: E402
from labkit.report import TARGETS  # noqa: E402
from labkit.shell import interruption  # noqa: E402

KILL_AFTER = (1.0, 3.0)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of pgbench, with and without protection")
    parser.add_argument("--seconds", type=int, default=10, help="of one round")
    parser.add_argument("--promotions", type=int, default=5)
    parser.add_argument("--memory", type=int, default=1024, help="of the guest, MiB")
    parser.add_argument("--clear", action="store_true", help="replication links in clear text")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build/bench.json")
    return parser.parse_args()


def measure_pgbench(hosts: Hosts, options, directory: Path, progress: Progress) -> dict:
    """Rounds take turns. A protected one is compared with the mean of the unprotected ones before and
    after it: the machine's speed drifts more from minute to minute than protection costs."""
    rates = {"unprotected": [], "protected": []}
    samples = []

    def run(kind: str) -> None:
        number = len(rates[kind]) + 1
        with progress.step(f"pgbench {kind}, round {number}") as step:
            rates[kind].append(hosts.run_load(options.seconds, directory).tps)
            step.note(f"{rates[kind][-1]:.1f} tps")

    hosts.run_load(5, directory)  # fills the caches
    run("unprotected")
    for _ in range(options.rounds):
        hosts.protect("a", "b")
        run("protected")
        samples.append(hosts.guest("a"))
        hosts.order("a", "unprotect", GUEST)
        hosts.wait_state("a", "UNPROTECTED", 15)
        run("unprotected")
    neighbours = [statistics.mean(pair) for pair in itertools.pairwise(rates["unprotected"])]
    ratios = [protected / beside for protected, beside in zip(rates["protected"], neighbours)]
    return {
        "accelerator": samples[-1]["accelerator"],
        "tps": {kind: statistics.median(values) for kind, values in rates.items()},
        "tps_rounds": rates, "tps_ratios": ratios, "tps_ratio": statistics.median(ratios),
        **{field: {q: statistics.median(sample[field][q] for sample in samples)
                   for q in ("p50", "p99")}
           for field in ("pause_us", "commit_latency_us", "hold_us")},
        **{field: statistics.mean(sample[field] for sample in samples)
           for field in ("pages_per_epoch", "bytes_per_epoch")},
    }


def measure_promotions(hosts: Hosts, options, directory: Path, progress: Progress) -> dict:
    """The guest is stopped when this begins."""
    moments = random.Random(options.seed)
    results = []
    for number in range(1, options.promotions + 1):
        with progress.step(f"kill host a, {number} of {options.promotions}") as step:
            hosts.bring_back()
            hosts.start_guest("a")
            hosts.protect("a", "b")
            result = kill_story.KillResult()
            kill_story.tell(hosts, directory, moments.uniform(*KILL_AFTER), result)
            if result.failures():
                raise story.StoryError("; ".join(result.failures()))
            results.append(result)
            step.note(f"promotion {result.promotion_ms:.1f} ms, longest gap"
                      f" {result.outage.longest_gap:.0f} ms")

    def spread(values: list[float]) -> dict:
        return {"min": min(values), "median": statistics.median(values), "max": max(values)}

    return {
        "promotions": len(results),
        "promotion_ms": spread([result.promotion_ms for result in results]),
        "decision_ms": spread([result.outage.decision for result in results]),
        "first_reply_ms": spread([result.outage.first_reply for result in results]),
        "longest_gap_ms": spread([result.outage.longest_gap for result in results]),
    }


def table(numbers: dict) -> str:
    """Name, measured, to reach."""
    rows = []

    def row(name: str, value: str, target: str = ""):
        rows.append(f"  {name:<44} {value:>16}  {target}")

    row("", "measured", "to reach")
    pause, commit = numbers["pause_us"], numbers["commit_latency_us"]
    row("pause p50", f"{pause['p50'] / 1000:.2f} ms", f"<= {TARGETS['pause_p50_us'] / 1000:g} ms")
    row("pause p99", f"{pause['p99'] / 1000:.2f} ms", f"<= {TARGETS['pause_p99_us'] / 1000:g} ms")
    row("commit latency p50", f"{commit['p50'] / 1000:.2f} ms")
    row("commit latency p99", f"{commit['p99'] / 1000:.2f} ms")
    row("pages per epoch", f"{numbers['pages_per_epoch']:.0f}")
    row("bytes per epoch", f"{numbers['bytes_per_epoch'] / 1024:.0f} KiB")
    row("pgbench, unprotected", f"{numbers['tps']['unprotected']:.1f} tps")
    row("pgbench, protected", f"{numbers['tps']['protected']:.1f} tps")
    row("protected / unprotected, median of rounds", f"{numbers['tps_ratio']:.2f}",
        f">= {TARGETS['tps_ratio']:g}")
    row("", " ".join(f"{ratio:.2f}" for ratio in numbers["tps_ratios"]))
    if "promotions" in numbers:
        times = numbers["promotions"]
        row(f"promotion, worst of {times}", f"{numbers['promotion_ms']['max']:.1f} ms",
            f"<= {TARGETS['promotion_ms']:g} ms")
        row("kill to quorum decision, median", f"{numbers['decision_ms']['median']:.0f} ms")
        row("kill to first reply, median", f"{numbers['first_reply_ms']['median']:.0f} ms")
        row(f"longest gap at the client, worst of {times}",
            f"{numbers['longest_gap_ms']['max']:.0f} ms", f"<= {TARGETS['longest_gap_ms']:g} ms")
    return "\n".join(rows)


def measure(options, progress: Progress) -> dict:
    hosts = Hosts(f"bench{os.getpid()}", progress.tick)
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as directory:
        try:
            with progress.step(f"bring up the lab, a guest of {options.memory} MiB"):
                hosts.up(memory_mib=options.memory, encrypted=not options.clear)
                hosts.start_guest("a")
            numbers = measure_pgbench(hosts, options, Path(directory), progress)
            if options.promotions:
                hosts.order("a", "stop", GUEST)
                numbers |= measure_promotions(hosts, options, Path(directory), progress)
            return numbers
        except BaseException:
            hosts.save_logs(REPOSITORY / "build/test-logs/bench")
            raise
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # nothing must stop the cleaning up
            hosts.close()


def main() -> int:
    options = parse_arguments()
    interruption.install()  # a time limit must not leave the lab behind
    progress = Progress(sys.stdout.isatty())
    print(f"seed {options.seed}; {machine.line()}")
    try:
        numbers = measure(options, progress)
    except (story.StoryError, LabError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(
        {"machine": machine.describe(), "seed": options.seed, "memory_mib": options.memory,
         "encrypted": not options.clear, **numbers}, indent=2)
        + "\n")
    print(f"\n{table(numbers)}\n\n  {options.output}; accelerator {numbers['accelerator']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
