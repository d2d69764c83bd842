#!/usr/bin/python3
"""A guest's disk: plain QEMU on a file, through us, through us protected; pgbench and fio in the guest.

The guests stand ready side by side, one on plain QEMU and one of ours, and only the one whose turn it is
runs. A round gives each some seconds, and its ratios are taken against its own plain QEMU: what else the
machine does changes less within a round than between two. The plain guest has the daemon's own command
line but for what the daemon adds (plain_guest.py), and its image is as sparse. The guest is pg-fio
(PostgreSQL 15, fsync on, scale 8; 512 MiB, 1 vCPU), pgbench has 8 clients; fio writes 4 KiB at random
places, O_DIRECT, 16 at a time, with an fdatasync after each 32. Both hosts, guest and client share the
machine and one disk.

Before that, without a guest: the same fio through our NBD server and through QEMU's own.

    disk_bench.py [--rounds 6] [--seconds 5] [--variants plain,memfd,...] [--json FILE]

`--variants` takes plain QEMU apart instead: each adds one thing of the daemon's; `ours` is the daemon's
guest, `protected` the same, protected.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from labkit import story  # noqa: E402
from labkit.database import Postgres  # noqa: E402
from labkit.hosts import Hosts  # noqa: E402
from labkit.lab import default_binaries  # noqa: E402
from labkit.plan import GUEST_ADDRESS  # noqa: E402
from labkit.story import wait_for  # noqa: E402
from plain_guest import VARIANTS, PlainGuest, make_durable, qemu_of  # noqa: E402

WARM_UP_SECONDS = 2
MEMORY_MIB = 512
FIO_MIB = 256
FIO = ["fio", "--name=randwrite", "--rw=randwrite", "--bs=4k", "--iodepth=16", "--time_based",
       "--output-format=json"]
IN_GUEST = ["--ioengine=libaio", "--direct=1", "--filename=/var/lib/postgresql/fio", "--size=64M",
            "--fdatasync=32"]
PSQL = "/usr/lib/postgresql/15/bin/psql"
OURS, PROTECTED = "ours", "protected"
LOADS = ("pgbench", "fio")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--variants", default=f"plain,{OURS},{PROTECTED}",
                        help=f"of {','.join([*VARIANTS, OURS, PROTECTED])}; the first: what others are compared with")
    parser.add_argument("--loads", default=",".join(LOADS))
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def writes_per_second(text: str) -> float:
    # A line of fio's nbd engine comes before.
    return json.loads(text[text.index("{"):])["jobs"][0]["write"]["iops"]


def thread_ms(directory: Path) -> float:
    """Processor time of a thread or process by its directory in /proc."""
    fields = (directory / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


class Servers:
    """Both NBD servers on a file each, side by side; no guest."""

    def __init__(self, directory: Path, seconds: int):
        self.directory = directory
        self.seconds = seconds

    def writes(self, server: list, uri: str, socket: Path) -> float:
        with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            try:
                wait_for("the NBD server", socket.exists, 10)
                done = subprocess.run([*FIO, "--ioengine=nbd", f"--uri={uri}", f"--size={FIO_MIB}M", "--fsync=32",
                                       f"--runtime={self.seconds}"], capture_output=True, text=True, check=True)
                return writes_per_second(done.stdout)
            finally:
                process.terminate()
                socket.unlink(missing_ok=True)

    def round(self) -> tuple[float, float]:
        image = self.directory / "fio.img"
        rates = []
        for name in ("qemu", "ours"):
            image.write_bytes(bytes(FIO_MIB << 20))
            socket = self.directory / f"{name}.sock"
            server = [default_binaries() / "nbd_serve", socket, image] if name == "ours" else [
                "qemu-storage-daemon", "--blockdev", f"driver=file,node-name=disk,filename={image}",
                "--nbd-server", f"addr.type=unix,addr.path={socket}",
                "--export", "type=nbd,id=disk0,node-name=disk,name=disk0,writable=on"]
            rates.append(self.writes(server, f"nbd+unix:///disk0?socket={socket}", socket))
        return rates[0], rates[1]


class Bench:
    def __init__(self, hosts: Hosts, directory: Path, seconds: int, variants: list[str], loads: list[str]):
        self.hosts = hosts
        self.directory = directory
        self.seconds = seconds
        self.variants = variants
        self.loads = loads
        make_durable(hosts.lab.host("a").disk)
        hosts.start_guest("a")
        self.qemu, words = qemu_of(hosts, "a", "pg")
        os.kill(self.qemu, signal.SIGSTOP)
        self.plain = {}
        for number, variant in enumerate(variants):
            if variant in VARIANTS:
                self.plain[variant] = PlainGuest(hosts, number, variant, words, Path(hosts.lab.plan.guest.disks[0]))
                self.plain[variant].wait()

    def measure(self, address: str, qemu: int) -> dict:
        """By load; and by thread, processor time for a transaction."""
        result = {}
        if "pgbench" in self.loads:
            self.pgbench(address, WARM_UP_SECONDS)
            before = self.processor_ms(qemu)
            run = self.pgbench(address, self.seconds)
            if run.fault:
                raise story.StoryError(f"pgbench: {run.fault}")
            result["pgbench"] = run.tps
            result["cpu_ms"] = {name: (after - before[name]) / run.transactions
                                for name, after in self.processor_ms(qemu).items()}
        if "fio" in self.loads:
            result["fio"] = self.fio(address)
        return result

    def processor_ms(self, qemu: int) -> dict:
        """So far."""
        vcpu = sum(thread_ms(task) for task in Path(f"/proc/{qemu}/task").iterdir()
                   if (task / "comm").read_text().startswith("CPU "))
        daemons = [self.hosts.lab.host(host).service_pid("understudyd") for host in "ab"]
        return {"vCPU": vcpu, "QEMU's others": thread_ms(Path(f"/proc/{qemu}")) - vcpu,
                "daemon": thread_ms(Path(f"/proc/{daemons[0]}")), "backup's": thread_ms(Path(f"/proc/{daemons[1]}"))}

    def pgbench(self, address: str, seconds: int) -> story.LoadRun:
        database = Postgres(address)
        with story.Background(self.hosts, database.load_command(seconds), self.directory / "load.log") as load:
            run = database.parse_load(load.wait(seconds + 30))
        return run

    def fio(self, address: str) -> float:
        command = " ".join([*FIO, *IN_GUEST, f"--runtime={self.seconds}"])
        done = self.hosts.client([PSQL, "-q", "-A", "-t", "-c", "create temp table said (line text)",
                                  "-c", f"copy said from program '{command}'", "-c", "table said",
                                  Postgres(address).dsn], self.seconds + 60)
        if done.returncode != 0:
            raise story.StoryError(f"fio in the guest failed: {done.stderr.strip()}")
        return writes_per_second(done.stdout)

    def round(self) -> dict:
        """By variant, by load."""
        result = {}
        for variant in self.variants:
            if variant not in self.plain:
                continue
            guest = self.plain[variant]
            guest.go_on()
            result[variant] = self.measure(guest.address, guest.pid)
            guest.wait()
        os.kill(self.qemu, signal.SIGCONT)
        if OURS in self.variants:
            result[OURS] = self.measure(GUEST_ADDRESS, self.qemu)
        if PROTECTED in self.variants:
            self.hosts.protect("a", "b")
            result[PROTECTED] = self.measure(GUEST_ADDRESS, self.qemu)
            result["pause_us"] = self.hosts.guest("a")["pause_us"]
            self.hosts.order("a", "unprotect", "pg")
        os.kill(self.qemu, signal.SIGSTOP)
        return result


def report(rounds: list[dict], variants: list[str], loads: list[str]):
    if "pgbench" in loads:
        for variant in variants:
            times = [one[variant]["cpu_ms"] for one in rounds]
            print(f"processor time for a transaction, {variant}: " + ", ".join(
                f"{name} {statistics.median(one[name] for one in times):.2f} ms" for name in times[0]))
    for variant in variants[1:]:
        for load in loads:
            ratios = [one[variant][load] / one[variants[0]][load] for one in rounds]
            print(f"{load}: {variant} / {variants[0]}, median of {len(ratios)}: {statistics.median(ratios):.2f}"
                  f"  ({' '.join(f'{ratio:.2f}' for ratio in ratios)})")


def main() -> int:
    options = arguments()
    variants, loads = options.variants.split(","), options.loads.split(",")
    hosts = Hosts(f"bench{os.getpid()}")
    rounds, writes = [], []
    with tempfile.TemporaryDirectory() as directory:
        try:
            servers = Servers(Path(directory), options.seconds)
            for number in range(1, options.rounds + 1 if "fio" in loads else 1):
                qemu, ours = servers.round()
                writes.append(ours / qemu)
                print(f"servers round {number}: QEMU's {qemu:.0f} writes/s, ours {ours:.0f} ({ours / qemu:.2f}),"
                      f" load average {os.getloadavg()[0]:.1f}", flush=True)
            # No beacon: a guest that waits for its turn costs nothing.
            hosts.up(guest_name="pg-fio", memory_mib=MEMORY_MIB, beacon_ms=0)
            bench = Bench(hosts, Path(directory), options.seconds, variants, loads)
            for number in range(1, options.rounds + 1):
                begun = time.monotonic()
                rounds.append(bench.round())
                if options.json:
                    options.json.write_text(json.dumps(rounds, indent=2) + "\n")
                print(f"round {number} ({time.monotonic() - begun:.0f} s): " + "; ".join(
                    f"{variant} " + ", ".join(f"{rounds[-1][variant][load]:.1f}" for load in loads)
                    for variant in variants) + f", load average {os.getloadavg()[0]:.1f}", flush=True)
        finally:
            hosts.close()
    if writes:
        print(f"fio through our NBD server / QEMU's, median of {len(writes)}: {statistics.median(writes):.2f}")
    report(rounds, variants, loads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
