#!/usr/bin/python3
"""pgbench in a guest whose database lies on a disk: plain QEMU on a file, through us, through us protected.

The three take turns in one run on one machine, and each round's ratios are taken against its own plain
QEMU. The guest is pg-disk (PostgreSQL 15, fsync on, scale 8), 8 clients; both hosts, the guest and the
client share the machine. Before that: fio's random writes of 4 KiB, a flush after each 32, at queue depth 16,
through our NBD server and through QEMU's own, on the same file system.

    disk_bench.py [--rounds 3] [--seconds 10] [--json FILE]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from labkit import guest as guests  # noqa: E402
from labkit import story  # noqa: E402
from labkit.hosts import BOOT_SECONDS, Hosts  # noqa: E402
from labkit.lab import default_binaries  # noqa: E402
from labkit.plan import GuestPlan  # noqa: E402
from labkit.story import wait_for  # noqa: E402

WARM_UP_SECONDS = 3
MEMORY_MIB = 512
FIO_MIB = 256


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


class Fio:
    """Both servers on a file each, side by side; no guest."""

    def __init__(self, directory: Path, seconds: int):
        self.directory = directory
        self.seconds = seconds

    def writes(self, server: list, uri: str, socket: Path) -> float:
        """Per second."""
        with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            try:
                wait_for("the NBD server", socket.exists, 10)
                done = subprocess.run(
                    ["fio", "--name=randwrite", "--ioengine=nbd", f"--uri={uri}", "--rw=randwrite", "--bs=4k",
                     "--iodepth=16", f"--size={FIO_MIB}M", "--fsync=32", "--time_based",
                     f"--runtime={self.seconds}", "--output-format=json"],
                    capture_output=True, text=True, check=True)
                # A line of fio's nbd engine comes before.
                return json.loads(done.stdout[done.stdout.index("{"):])["jobs"][0]["write"]["iops"]
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
    def __init__(self, hosts: Hosts, directory: Path, seconds: int):
        self.hosts = hosts
        self.directory = directory
        self.seconds = seconds
        self.files = guests.build("pg-disk", print)

    def pgbench(self) -> float:
        self.hosts.run_load(WARM_UP_SECONDS, self.directory)
        run = self.hosts.run_load(self.seconds, self.directory)
        if not run.finished or run.failed:
            raise story.StoryError(f"pgbench failed: {run.errors[:1]}")
        return run.tps

    def plain(self) -> float:
        """The same machine, its disk a file (QEMU's defaults: page cache, flush is fdatasync)."""
        host = self.hosts.lab.host("a")
        image = host.directory / "lib/understudy/plain.img"
        shutil.copyfile(self.files / "disk.img", image)
        self.hosts.lab.exec("a", ["sh", "-c", "ip link show tap0 >/dev/null 2>&1 || ip tuntap add tap0"
                                  " mode tap && ip link set tap0 master br0 up"], check=True)
        host.start_service("qemu", [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-M", "pc", "-cpu", "max",
            "-m", str(MEMORY_MIB), "-kernel", str(self.files / "vmlinuz"),
            "-initrd", str(self.files / "initrd"), "-append", GuestPlan().command_line(),
            "-display", "none", "-monitor", "none", "-serial", "null",
            "-drive", "if=virtio,format=raw,file=/var/lib/understudy/plain.img",
            "-nic", "tap,ifname=tap0,script=no,downscript=no,model=virtio-net-pci"])
        try:
            wait_for("PostgreSQL", lambda: story.postgres_answers(self.hosts), BOOT_SECONDS, 0.2)
            return self.pgbench()
        finally:
            self.hosts.lab.stop_service("a", "qemu")

    def through_us(self) -> tuple[float, float, dict]:
        self.hosts.start_guest("a")
        unprotected = self.pgbench()
        self.hosts.protect("a", "b")
        protected = self.pgbench()
        status = self.hosts.guest("a")
        self.hosts.order("a", "stop", "pg")
        for host in "ab":
            self.hosts.wait_state(host, "STOPPED", 15)
        return unprotected, protected, status


def main() -> int:
    options = arguments()
    hosts = Hosts(f"bench{os.getpid()}")
    rounds, writes = [], []
    with tempfile.TemporaryDirectory() as directory:
        try:
            fio = Fio(Path(directory), options.seconds)
            for number in range(1, options.rounds + 1):
                qemu, ours = fio.round()
                writes.append(ours / qemu)
                print(f"fio round {number}: QEMU's NBD server {qemu:.0f} writes/s, ours {ours:.0f}"
                      f" ({ours / qemu:.2f}), load average {os.getloadavg()[0]:.1f}", flush=True)
            hosts.up(guest_name="pg-disk", memory_mib=MEMORY_MIB)
            bench = Bench(hosts, Path(directory), options.seconds)
            for number in range(1, options.rounds + 1):
                plain = bench.plain()
                unprotected, protected, status = bench.through_us()
                pause = status["pause_us"]
                rounds.append({"plain": plain, "unprotected": unprotected, "protected": protected,
                               "pause_us": pause})
                print(f"round {number}: plain {plain:.1f} tps, unprotected {unprotected:.1f}"
                      f" ({unprotected / plain:.2f}), protected {protected:.1f} ({protected / plain:.2f}),"
                      f" pause p50 {pause['p50'] / 1000:.1f} ms p99 {pause['p99'] / 1000:.1f} ms",
                      flush=True)
        finally:
            hosts.close()
    print(f"fio through our NBD server / QEMU's, median of {len(writes)}: {statistics.median(writes):.2f}")
    for name in ("unprotected", "protected"):
        ratio = statistics.median(one[name] / one["plain"] for one in rounds)
        print(f"{name} / plain, median of {len(rounds)}: {ratio:.2f}")
    if options.json:
        options.json.write_text(json.dumps(rounds, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
