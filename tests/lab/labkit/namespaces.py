"""Network namespaces by name, and the processes inside one.

A process belongs to a place of the lab if it is in that place's network namespace, whoever started it:
that needs no record, so it holds after any crash of the lab tool.
"""

import ctypes
import os
import signal
import socket
import threading
from pathlib import Path

from .plan import PREFIX
from .shell import run, wait_until

NETNS = Path("/run/netns")
CLONE_NEWNET = 0x40000000


def exists(namespace: str) -> bool:
    return (NETNS / namespace).exists()


def of_lab(name: str) -> list[str]:
    if not NETNS.is_dir():
        return []
    return sorted(entry.name for entry in NETNS.iterdir() if entry.name.startswith(f"{PREFIX}{name}-"))


def all_labs() -> list[str]:
    names = {entry.name for entry in NETNS.iterdir()} if NETNS.is_dir() else set()
    return sorted({name.removeprefix(PREFIX).rpartition("-")[0] for name in names
                   if name.startswith(PREFIX) and name.count("-") == 2})


def create(namespace: str) -> None:
    run("ip", "netns", "add", namespace)
    run("ip", "-n", namespace, "link", "set", "lo", "up")
    # No IPv6: a capture of the guest network then holds nothing that nobody asked for.
    run("ip", "netns", "exec", namespace, "sh", "-c",
        "for f in all default; do echo 1 > /proc/sys/net/ipv6/conf/$f/disable_ipv6; done")


def connect(namespace: str, address: tuple[str, int], seconds: float = 10) -> socket.socket:
    """A connection made inside the namespace; it stays there, whoever uses it."""
    outcome: list = []

    def inside():
        try:
            with open(NETNS / namespace) as place:  # of this thread only, which ends with it
                if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns {namespace}")
            outcome.append(socket.create_connection(address, seconds))
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if isinstance(outcome[0], OSError):
        raise outcome[0]
    return outcome[0]


def pids(namespace: str) -> list[int]:
    """Every process in the namespace, zombies excepted (their namespace is gone)."""
    try:
        wanted = os.stat(NETNS / namespace).st_ino
    except FileNotFoundError:
        return []
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.stat(f"/proc/{entry}/ns/net").st_ino == wanted:
                    found.append(int(entry))
            except OSError:
                pass  # it ended meanwhile
    return found


def pids_inside(pid: int) -> list[int]:
    """The process's ids from the outermost pid namespace to its own; empty if it ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return [int(word) for word in line.split()[1:]]
    except OSError:
        pass
    return []


def state_of(pid: int) -> str:
    """The letter of /proc/PID/stat: R, S, T, Z ...; empty if it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def empty(namespace: str) -> None:
    """Kills every process of the namespace and waits until they are gone."""
    def gone() -> bool:
        left = pids(namespace)
        for pid in left:
            send(pid, signal.SIGKILL)
        return not left
    wait_until(gone, 10, f"the processes of {namespace} to end")


def delete(namespace: str) -> None:
    """Kills what runs in it and removes it, also when it was only half made."""
    empty(namespace)
    run("ip", "netns", "del", namespace, check=False)
    (NETNS / namespace).unlink(missing_ok=True)
