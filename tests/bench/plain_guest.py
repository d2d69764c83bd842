"""A guest on plain QEMU beside one of the daemon's: the same command line but for what the daemon adds.

Each variant takes one thing of the daemon's on: RAM in a shared memfd, a NIC without offloads, legacy
virtio, a disk over NBD. They wait with SIGSTOP while others have their turn.
"""

import os
import re
import signal
import subprocess
from pathlib import Path

from labkit.hosts import BOOT_SECONDS, Hosts
from labkit.lab import default_binaries
from labkit.plan import GUEST_ADDRESS
from labkit.story import postgres_answers, wait_for

# What each takes on, in the order of a decomposition.
VARIANTS = {
    "plain": set(),
    "memfd": {"memfd"},
    "no-offloads": {"no-offloads"},
    "legacy": {"legacy"},
    "qemu-nbd": {"qemu-nbd"},
    "our-nbd": {"our-nbd"},
    "together": {"memfd", "no-offloads", "legacy", "our-nbd"},
}
NETWORK = GUEST_ADDRESS.rpartition(".")[0]
FIRST = 20  # the last number of the first one's address


def qemu_of(hosts: Hosts, host: str, name: str) -> tuple[int, list[str]]:
    """The process id and the words of the QEMU that the daemon runs for a guest."""
    for pid in hosts.lab.host(host).pids():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if "qemu" in words[0] and any(word.startswith(f"{name},") for word in words):
            return pid, words[:-1]
    raise LookupError(f"no QEMU of {name} on {host}")


def make_durable(image: Path):
    """A guest's first flush would otherwise write the whole copy of its image."""
    with open(image, "rb+") as file:
        os.fsync(file)


class PlainGuest:
    """Boots at once; runs until `stop`."""

    def __init__(self, hosts: Hosts, number: int, variant: str, words: list[str], image: Path):
        self.hosts = hosts
        self.host = hosts.lab.host("a")
        self.adds = VARIANTS[variant]
        self.name = f"{variant}{number}"
        self.address = f"{NETWORK}.{FIRST + number}"
        self.number = number
        disk = self.host.directory / f"lib/understudy/{self.name}.img"
        # As the lab gives the daemon's guest its own: what was never written is not allocated.
        subprocess.run(["cp", "--sparse=always", str(image), str(disk)], check=True)
        make_durable(disk)
        self.services = [*self._serve_disk(f"/var/lib/understudy/{self.name}.img"), self.name]
        self._make_tap()
        self.host.start_service(self.name, self._command(words))
        wait_for("PostgreSQL", lambda: postgres_answers(hosts, self.address), BOOT_SECONDS, 0.2)

    def stop(self):
        self.go_on()
        for service in reversed(self.services):
            self.hosts.lab.stop_service("a", service)

    def wait(self):
        self._signal(signal.SIGSTOP)

    def go_on(self):
        self._signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        return self.host.service_pid(self.name)

    def _signal(self, number: int):
        os.kill(self.pid, number)

    def _make_tap(self):
        offloads = "" if "no-offloads" in self.adds else "vnet_hdr"
        self.hosts.lab.exec("a", ["sh", "-c", f"ip tuntap add plain{self.number} mode tap {offloads} &&"
                                  f" ip link set plain{self.number} master br0 up"], check=True)

    def _serve_disk(self, image: str) -> list[str]:
        """The services that do."""
        socket = f"/run/lab/nbd{self.number}"
        self.drive = f"driver=nbd,server.type=unix,server.path={socket},export=disk0"
        if "qemu-nbd" in self.adds:
            server = ["qemu-storage-daemon", "--blockdev", f"driver=file,node-name=d,filename={image}",
                      "--nbd-server", f"addr.type=unix,addr.path={socket}",
                      "--export", "type=nbd,id=disk0,node-name=d,name=disk0,writable=on"]
        elif "our-nbd" in self.adds:
            # Its standard input must not end.
            server = ["sh", "-c", 'mkfifo $1.in; exec "$0" $1 $2 <>$1.in', str(default_binaries() / "nbd_serve"),
                      socket, image]
        else:
            self.drive = f"driver=file,filename={image}"
            return []
        name = f"{self.name}-nbd"
        self.host.start_service(name, server)
        wait_for("the NBD server", (self.host.directory / f"lab/nbd{self.number}").exists, 10)
        return [name]

    def _command(self, words: list[str]) -> list[str]:
        """`words` are the daemon's, for its guest."""
        vnet = "vnet_hdr=off" if "no-offloads" in self.adds else "vnet_hdr=on"
        changes = [
            (r"memory-backend-file,(.*),mem-path=[^,]*,share=on", r"memory-backend-memfd,\1,share=on"
             if "memfd" in self.adds else r"memory-backend-ram,\1"),
            (r"stream,id=([^,]*),.*", rf"tap,id=\1,ifname=plain{self.number},script=no,downscript=no,{vnet}"),
            (r"driver=nbd,node-name=([^,]*),.*", rf"{self.drive},node-name=\1,discard=unmap"),
            (r"(.*)\baddress=[0-9.]*(.*)", rf"\g<1>address={self.address}\g<2>"),
            (r"(virtio-net-pci,.*mac=.*):..", rf"\1:{FIRST + self.number:02x}"),
            *([] if "legacy" in self.adds else [(r"(virtio-.*),disable-modern=on(.*)", r"\1\2")]),
            (r"socket,id=(monitor.),.*", r"null,id=\1"),
            (r"file,id=console,.*", r"null,id=console"),
        ]
        result = []
        for word in words:
            for pattern, by in changes:
                word = re.sub(f"^{pattern}$", by, word)
            if word != "-S":
                result.append(word)
        return result
