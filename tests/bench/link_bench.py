#!/usr/bin/python3
"""Both links between two hosts side by side: bursts of pages, and a guest's commits under load.

First 10 MB bursts from host a to host b, over TCP and over DPDK, in clear text and encrypted, in turns.
Then two labs, alike but for the link: pgbench runs in one guest, then in the other, protected, and the
commit latency of each round is taken. Prints both tables and writes build/link-bench.json.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/lab"))

from labkit import machine, story  # noqa: E402
from labkit.hosts import GUEST, Hosts  # noqa: E402
from labkit.lab import default_binaries  # noqa: E402
from labkit.plan import KEY_IN_HOST, LINKS, REPLICATION_PORT, LabError  # noqa: E402
from labkit.progress import Progress  # noqa: E402
from labkit.shell import interruption  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bursts", type=int, default=100, help="of 10 MB, a round")
    parser.add_argument("--burst-rounds", type=int, default=3, help="of each link and each security")
    parser.add_argument("--rounds", type=int, default=3, help="of pgbench, for each link")
    parser.add_argument("--seconds", type=int, default=12, help="of one of these")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build/link-bench.json")
    return parser.parse_args()


class Side:
    """link_bench on a host; what it says and asks for is a line each."""

    def __init__(self, hosts: Hosts, host: str, *words: str):
        self.process = hosts.lab.popen(host, [str(default_binaries() / "link_bench"), *words], text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def hear(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise story.StoryError(f"link_bench ended with {self.process.wait()}")
        return line.strip()

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def cpu_seconds(self) -> float:
        """Of it and of what the kernel did on its behalf."""
        outside = self.process.pid  # what has entered the host's namespaces and waits there
        inside = Path(f"/proc/{outside}/task/{outside}/children").read_text().split()[0]
        words = Path(f"/proc/{inside}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICKS

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def send_bursts(hosts: Hosts, link: str, encrypted: bool, bursts: int) -> dict:
    where = "repl0" if link == "dpdk" else f"{hosts.lab.plan.address('b')}:{REPLICATION_PORT}"
    options = [link, where, *(["--key", KEY_IN_HOST] if encrypted else [])]
    with Side(hosts, "b", "serve", *options) as backup:
        backup.hear()
        with Side(hosts, "a", "send", *options, "--bursts", str(bursts)) as primary:
            primary.hear()
            before = primary.cpu_seconds(), backup.cpu_seconds()
            primary.go_on()
            numbers = json.loads(primary.hear())
            spent = [side.cpu_seconds() - cpu for side, cpu in zip((primary, backup), before)]
    gigabytes = numbers["bytes"] / 1e9
    return {"gb_per_s": gigabytes / numbers["seconds"], "p50_us": numbers["p50_us"],
            "p99_us": numbers["p99_us"], "resent": numbers["resent"],
            "primary_cpu_s_per_gb": spent[0] / gigabytes, "backup_cpu_s_per_gb": spent[1] / gigabytes}


def measure_bursts(options, progress: Progress) -> list[dict]:
    hosts = Hosts(f"lb{os.getpid()}", progress.tick)
    kinds = [(link, encrypted) for encrypted in (False, True) for link in LINKS]
    rounds: dict[tuple, list] = {kind: [] for kind in kinds}
    try:
        with progress.step("two hosts without daemons"):
            hosts.up(guest_name=None, daemon=False)
        for number in range(options.burst_rounds):
            for kind in kinds:
                with progress.step(f"bursts over {kind[0]}{', encrypted' if kind[1] else ''},"
                                   f" round {number + 1}") as step:
                    rounds[kind].append(send_bursts(hosts, *kind, options.bursts))
                    step.note(f"{rounds[kind][-1]['gb_per_s']:.2f} GB/s")
    finally:
        hosts.close()
    return [{"link": link, "encrypted": encrypted,
             **{field: statistics.median(each[field] for each in rounds[link, encrypted])
                for field in rounds[link, encrypted][0]}} for link, encrypted in kinds]


def measure_commits(options, progress: Progress) -> list[dict]:
    labs = {link: Hosts(f"lc{link[0]}{os.getpid()}", progress.tick) for link in LINKS}
    rounds: dict[str, list] = {link: [] for link in LINKS}
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as directory:
        try:
            for link, hosts in labs.items():
                with progress.step(f"a lab whose checkpoints travel over {link}"):
                    hosts.up(link=link, uplink="tap")
                    hosts.start_guest("a")
                    hosts.run_load(3, Path(directory))  # fills the caches
            for number in range(options.rounds):
                # Who begins changes from round to round: the machine's speed drifts.
                for link in LINKS if number % 2 == 0 else reversed(LINKS):
                    with progress.step(f"pgbench over {link}, round {number + 1}") as step:
                        rounds[link].append(commit_round(labs[link], options.seconds, Path(directory)))
                        step.note(f"commit p50 {rounds[link][-1]['p50'] / 1000:.2f} ms")
        finally:
            for hosts in labs.values():
                hosts.close()
    return [{"link": link, "rounds": rounds[link],
             **{field: statistics.median(each[field] for each in rounds[link])
                for field in rounds[link][0]}} for link in LINKS]


def commit_round(hosts: Hosts, seconds: int, directory: Path) -> dict:
    hosts.protect("a", "b")
    tps = hosts.run_load(seconds, directory).tps
    guest = hosts.guest("a")
    hosts.order("a", "unprotect", GUEST)
    hosts.wait_state("a", "UNPROTECTED", 15)
    return {"p50": guest["commit_latency_us"]["p50"], "p99": guest["commit_latency_us"]["p99"],
            "bytes_per_epoch": guest["bytes_per_epoch"], "tps": tps}


def table(bursts: list[dict], commits: list[dict]) -> str:
    lines = [f"  {'10 MB bursts':<22}{'GB/s':>8}{'p50':>10}{'p99':>10}{'CPU s/GB':>10}"
             f"{'primary':>10}{'backup':>10}"]
    for row in bursts:
        cpu = row["primary_cpu_s_per_gb"], row["backup_cpu_s_per_gb"]
        lines.append(f"  {row['link'] + (', encrypted' if row['encrypted'] else ', clear'):<22}"
                     f"{row['gb_per_s']:>8.2f}{row['p50_us'] / 1000:>7.2f} ms{row['p99_us'] / 1000:>7.2f} ms"
                     f"{sum(cpu):>10.2f}{cpu[0]:>10.2f}{cpu[1]:>10.2f}")
    lines += ["", f"  {'commits under pgbench':<22}{'p50':>10}{'p99':>10}{'KiB/epoch':>10}{'tps':>8}"]
    for row in commits:
        each = " ".join(f"{one['p50'] / 1000:.2f}" for one in row["rounds"])
        lines.append(f"  {row['link'] + ', encrypted':<22}{row['p50'] / 1000:>7.2f} ms"
                     f"{row['p99'] / 1000:>7.2f} ms{row['bytes_per_epoch'] / 1024:>10.0f}{row['tps']:>8.1f}"
                     f"   p50 of each round: {each}")
    return "\n".join(lines)


def main() -> int:
    options = parse_arguments()
    interruption.install()  # a time limit must not leave a lab behind
    progress = Progress(sys.stdout.isatty())
    print(machine.line())
    try:
        bursts, commits = measure_bursts(options, progress), measure_commits(options, progress)
    except (story.StoryError, LabError) as error:
        print(f"link bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("link bench: interrupted", file=sys.stderr)
        return 130
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(
        {"machine": machine.describe(), "bursts": bursts, "commits": commits}, indent=2) + "\n")
    print(f"\n{table(bursts, commits)}\n\n  {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
