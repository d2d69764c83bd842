"""Whether a drill's clone can be heard outside: what its host sends with the guest's address.

The capture stands at the backup's cable into the guests' network and sees only what comes from that
host. `send_on_purpose` proves that it would see something.
"""

import re
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from . import pcap
from .story import GUEST_ADDRESS, PYTHON, StoryError

PURPOSE = 0x88B6  # IEEE 802, for local experiments
FRAMES = 3
KERNEL_SECONDS = 1  # it keeps what it captured for as long
SEND = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("up0", 0))
mac = bytes.fromhex(sys.argv[1].replace(":", ""))
for _ in range(int(sys.argv[3])):
    s.send(b"\\xff" * 6 + mac + int(sys.argv[2]).to_bytes(2, "big") + bytes(46))
"""


def guest_mac(hosts) -> str:
    """As the client has resolved it."""
    known = hosts.client(["ip", "neigh", "show", GUEST_ADDRESS], 5).stdout
    found = re.search(r"lladdr (\S+)", known)
    if not found:
        raise StoryError(f"the client does not know the guest's card: {known!r}")
    return found[1]


@contextmanager
def sent_by(hosts, host: str, path: Path):
    """Captures into `path` what this host sends into the guests' network as the guest."""
    process = subprocess.Popen(
        ["ip", "netns", "exec", hosts.lab.plan.namespace("switch"), "tcpdump", "-i", f"gu-{host}", "-Q",
         "in", "-n", "-U", "-w", str(path), "ether", "src", guest_mac(hosts)],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while "listening on" not in process.stderr.readline():
        if process.poll() is not None:
            raise StoryError("tcpdump does not run")
    try:
        yield
        time.sleep(KERNEL_SECONDS)
    finally:
        process.terminate()
        process.communicate()


def send_on_purpose(hosts, host: str):
    """Frames that the capture must see, at the end of it: the switch takes the guest to be there until
    its next frame."""
    done = hosts.run(host, [PYTHON, "-c", SEND, guest_mac(hosts), str(PURPOSE), str(FRAMES)])
    if done.returncode != 0:
        raise StoryError(f"no frame could be sent: {done.stderr.strip()}")


def counts(path: Path) -> tuple[int, int]:
    """Of the frames in the capture: those of the clone, and those sent on purpose."""
    kinds = [packet.ethertype == PURPOSE for packet in pcap.read(path)]
    return kinds.count(False), kinds.count(True)
