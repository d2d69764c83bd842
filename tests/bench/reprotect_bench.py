#!/usr/bin/python3
"""A host comes back: how long until the guest is protected again, and what the guest notices.

A guest with 1 GiB of RAM and a disk of 2 GiB (half of it random bytes) is protected; its backup dies; the
guest writes 5 % of its disk anew; the backup comes back with the image that it had. From the moment when its
daemon is ready (it is tried 3 s later): the time until protection, with the longest pause of any epoch and the
longest silence that a client sees meanwhile and in the 5 s after it, beside those of ordinary protection
before. Both hosts, the guest and the client share the machine.

    reprotect_bench.py [--rounds 3] [--link tcp] [--output build/reprotect-bench.json]
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
from labkit.ledger import longest_gap  # noqa: E402
from labkit.plan import LINKS, LabError  # noqa: E402
from labkit.shell import interruption  # noqa: E402

MEMORY_MIB = 1024
DISK_BYTES = 2 << 30
CHANGED = 0.05
PIECE_BYTES = 1 << 20
PSQL = "/usr/lib/postgresql/15/bin/psql"
# Bytes that do not compress, all of them on the disk, in a file that each round overwrites.
CHANGE = "copy (select 1) to program 'dd if=/dev/urandom of=/var/lib/postgresql/ballast bs=1M count={mib} conv=fsync'"
USUAL_SECONDS = 5
CHANGE_SECONDS = 600
AGAIN_SECONDS = 300


def enlarge(hosts: Hosts):
    """What lies behind the guest's file system is read and compared like the rest."""
    image = hosts.lab.host("a").disk
    with open(image, "ab") as file:
        for _ in range((DISK_BYTES - image.stat().st_size) // PIECE_BYTES):
            file.write(os.urandom(PIECE_BYTES))
    os.truncate(hosts.lab.host("b").disk, DISK_BYTES)


class Watch:
    """What the guest and its client notice while it is looked at, from its making on.

    `usual`: the longest pause is that of the epochs which were the last when it was looked at, every third or so,
    since the status still counts the first ones of the protection. Otherwise it is that of all of them.
    """

    def __init__(self, hosts: Hosts, ledger: story.LedgerProcess, usual: bool):
        self.hosts_, self.ledger_, self.usual_ = hosts, ledger, usual
        self.begun_ns = time.monotonic_ns()
        self.pause_max_us = self.pause_p50_us = 0.0

    def look(self) -> dict:
        """The status keeps the last thousand epochs' pauses, which begin anew with each protection."""
        seen = self.hosts_.guest("a")
        if seen.get("state") in ("SYNCHRONISING", "PROTECTED"):
            pause = seen["pause_us"]
            self.pause_max_us = max(self.pause_max_us, pause["last" if self.usual_ else "max"])
            self.pause_p50_us = pause["p50"]
        return seen

    def go_on(self, seconds: float):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            time.sleep(0.1)

    def noticed(self) -> dict:
        acks = [ack for ack in self.ledger_.acks() if ack.monotonic_ns >= self.begun_ns]
        return {"pause_p50_ms": self.pause_p50_us / 1e3, "pause_max_ms": self.pause_max_us / 1e3,
                "silence_ms": longest_gap(acks, time.monotonic_ns()).ms}


def change_the_disk(hosts: Hosts):
    change = CHANGE.format(mib=int(DISK_BYTES * CHANGED) >> 20)
    done = hosts.client([PSQL, "-q", "-v", "ON_ERROR_STOP=1", "-c", change, story.DSN], CHANGE_SECONDS)
    if done.returncode != 0:
        raise story.StoryError(f"the guest's disk could not be changed: {done.stderr.strip()}")


def one_round(hosts: Hosts, directory: Path) -> dict:
    with story.LedgerProcess(hosts, directory) as ledger:
        ledger.wait_acks(1, 60)
        usual = Watch(hosts, ledger, usual=True)
        usual.go_on(USUAL_SECONDS)
        before = usual.noticed()
        hosts.kill("b")
        hosts.wait_state("a", "UNPROTECTED", 60)
        change_the_disk(hosts)
        hosts.lab.start("b")
        load = os.getloadavg()[0]
        again = Watch(hosts, ledger, usual=False)
        story.wait_for("protection again", lambda: again.look().get("state") == "PROTECTED", AGAIN_SECONDS)
        seconds = (time.monotonic_ns() - again.begun_ns) / 1e9
        again.go_on(USUAL_SECONDS)
        ledger.wait_ack_after(time.time_ns(), 30)
        meanwhile = again.noticed()
        verdict = ledger.stop()
    if verdict.failure:
        raise story.StoryError(f"the client's connection ended: {verdict.failure}")
    return {"seconds": seconds, "usual": before, "again": meanwhile, "load": load}


def measure(options, rounds: list[dict]):
    hosts = Hosts(f"rp{os.getpid()}")
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as directory:
        try:
            hosts.up(guest_name="pg-disk", memory_mib=MEMORY_MIB, link=options.link)
            enlarge(hosts)
            hosts.start_guest("a")
            hosts.protect("a", "b")
            for number in range(1, options.rounds + 1):
                one = one_round(hosts, Path(directory))
                rounds.append(one)
                print(f"round {number}: protected again after {one['seconds']:.1f} s;" + ",".join(
                    f" {what}: pause p50 {each['pause_p50_ms']:.1f} max {each['pause_max_ms']:.1f} ms,"
                    f" silence {each['silence_ms']:.0f} ms" for what, each in
                    (("as usual", one["usual"]), ("meanwhile", one["again"])))
                      + f"; load {one['load']:.1f}", flush=True)
        except BaseException:
            hosts.save_logs(REPOSITORY / "build/test-logs/reprotect-bench")
            raise
        finally:
            hosts.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--link", choices=LINKS, default="tcp")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build/reprotect-bench.json")
    options = parser.parse_args()
    interruption.install()
    print(machine.line(), flush=True)
    rounds: list[dict] = []
    try:
        measure(options, rounds)
    except (story.StoryError, LabError) as error:
        print(f"reprotect bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"protected again after {statistics.median(one['seconds'] for one in rounds):.1f} s, longest pause"
          f" meanwhile {statistics.median(one['again']['pause_max_ms'] for one in rounds):.1f} ms, as usual"
          f" {statistics.median(one['usual']['pause_max_ms'] for one in rounds):.1f} ms (medians of {len(rounds)})")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine.describe(), "link": options.link, "rounds": rounds},
                                         indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
