#!/usr/bin/python3
"""A host comes back: how long until the guest is protected again, and what the guest notices.

A guest with 1 GiB of RAM and a disk of 2 GiB (half of it random bytes) is protected; its backup dies; the
guest changes 5 % of its disk; the backup comes back with the image that it had. From the moment when its
daemon is ready: the time until protection, and the longest pause and the longest silence that a client sees
meanwhile, beside those of ordinary protection. Both hosts, the guest and the client share the machine.

    reprotect_bench.py [--rounds 3] [--json FILE]
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from labkit import machine, story  # noqa: E402
from labkit.hosts import Hosts  # noqa: E402
from labkit.ledger import longest_gap  # noqa: E402
from labkit.shell import interruption  # noqa: E402

DISK_BYTES = 2 << 30
CHANGED = 0.05
PIECE_BYTES = 1 << 20
PSQL = "/usr/lib/postgresql/15/bin/psql"
# Rows of about a KiB that do not compress; then all of it on the disk.
CHANGE = """
drop table if exists ballast;
create table ballast (number int, content text);
alter table ballast alter content set storage external;
insert into ballast select n, (select string_agg(md5(n::text || random()::text || m), '') from
  generate_series(1, 32) m) from generate_series(1, {rows}) n;
checkpoint;
"""
USUAL_SECONDS = 5
AGAIN_SECONDS = 120


def enlarge(hosts: Hosts):
    """What lies behind the guest's file system is read and compared like the rest."""
    image = hosts.lab.host("a").disk
    with open(image, "ab") as file:
        for _ in range((DISK_BYTES - image.stat().st_size) // PIECE_BYTES):
            file.write(os.urandom(PIECE_BYTES))
    os.truncate(hosts.lab.host("b").disk, DISK_BYTES)


def noticed(hosts: Hosts, ledger: story.LedgerProcess, since_ns: int) -> dict:
    acks = [ack for ack in ledger.acks() if ack.monotonic_ns >= since_ns]
    pause = hosts.guest("a")["pause_us"]
    return {"pause_p99_ms": pause["p99"] / 1e3, "pause_max_ms": pause["max"] / 1e3,
            "silence_ms": longest_gap(acks, time.monotonic_ns()).ms}


def one_round(hosts: Hosts, directory: Path) -> dict:
    with story.LedgerProcess(hosts, directory) as ledger:
        ledger.wait_acks(1, 20)
        begin = time.monotonic_ns()
        time.sleep(USUAL_SECONDS)
        usual = noticed(hosts, ledger, begin)
        hosts.kill("b")
        hosts.wait_state("a", "UNPROTECTED", 30)
        rows = int(DISK_BYTES * CHANGED / 1024)
        done = hosts.client([PSQL, "-q", "-v", "ON_ERROR_STOP=1", "-c", CHANGE.format(rows=rows), story.DSN], 600)
        if done.returncode != 0:
            raise story.StoryError(f"the guest's disk could not be changed: {done.stderr.strip()}")
        hosts.lab.start("b")
        begin = time.monotonic_ns()
        hosts.wait_state("a", "PROTECTED", AGAIN_SECONDS)
        seconds = (time.monotonic_ns() - begin) / 1e9
        ledger.wait_ack_after(time.time_ns(), 10)
        again = noticed(hosts, ledger, begin)
        verdict = ledger.stop()
    if verdict.failure:
        raise story.StoryError(f"the client's connection ended: {verdict.failure}")
    return {"seconds": seconds, "usual": usual, "again": again}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    interruption.install()
    print(machine.line(), flush=True)
    hosts = Hosts(f"rp{os.getpid()}")
    rounds = []
    with tempfile.TemporaryDirectory() as directory:
        try:
            hosts.up(guest_name="pg-disk")
            enlarge(hosts)
            hosts.start_guest("a")
            hosts.protect("a", "b")
            for number in range(1, options.rounds + 1):
                one = one_round(hosts, Path(directory))
                rounds.append(one)
                print(f"round {number}: protected again after {one['seconds']:.1f} s;" + ",".join(
                    f" {what}: pause p99 {each['pause_p99_ms']:.1f} max {each['pause_max_ms']:.1f} ms,"
                    f" silence {each['silence_ms']:.0f} ms" for what, each in
                    (("as usual", one["usual"]), ("meanwhile", one["again"]))), flush=True)
        except story.StoryError as error:
            print(f"reprotect bench: {error}", file=sys.stderr)
            return 1
        finally:
            hosts.close()
    print(f"protected again after {statistics.median(one['seconds'] for one in rounds):.1f} s, longest pause"
          f" meanwhile {statistics.median(one['again']['pause_max_ms'] for one in rounds):.1f} ms"
          f" (medians of {len(rounds)})")
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
