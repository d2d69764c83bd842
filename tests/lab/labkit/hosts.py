"""A lab as the story and the tests use it: commands, statuses, steps, captures."""

import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from . import status
from .database import DATABASES
from .host import DAEMON
from .lab import Lab, quiet
from .plan import GUEST, LabError
from .story import PYTHON, Background, LoadRun, StoryError, wait_for

CALL_SECONDS = 150  # more than the daemon allows itself for any command
BOOT_SECONDS = 120
VOTE_SECONDS = 30
PROTECT_SECONDS = 120
CAPTURE_SECONDS = 10
TAIL_BYTES = 1 << 20
# In the client's network: to the discard port of everyone, so that the packet passes the bridge.
END_MARK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.sendto(sys.argv[1].encode(), ("10.78.0.255", 9))
"""


class Hosts:
    """Owns a Lab; `close` takes it down. One thread may run commands beside another."""

    def __init__(self, name: str, say=quiet):
        self.lab = Lab(name, say)

    @property
    def database(self):
        """What the lab's first guest has."""
        return self.database_of(GUEST)

    def database_of(self, name: str):
        guest = self.lab.plan.find_guest(name)
        return DATABASES[guest.database](guest.address)

    # --- the lab itself

    def up(self, **options):
        self.lab.up(**options)
        if self.lab.plan.daemon:
            for host in self.lab.hosts:
                wait_for(f"host {host} to vote", lambda: self.status(host)["quorum"]["voter"], VOTE_SECONDS)

    def close(self):
        self.lab.down()

    def kill(self, host: str) -> int:
        """SIGKILL to all of the host at once, links down. Returns CLOCK_REALTIME before it (ns)."""
        return self.lab.kill(host).realtime_ns

    def save_logs(self, directory: Path):
        """Copies every host's logs to `directory`/HOST/, if there is a lab to take them from."""
        try:
            self.lab.collect_logs(directory)
        except (LabError, OSError, shutil.Error) as error:
            print(f"no logs: {error}", file=sys.stderr)

    def daemon_log(self, host: str) -> str:
        path = self.lab.host(host).log(DAEMON)
        return path.read_text(errors="replace") if path.exists() else ""

    # --- commands

    def run(self, host: str, command: list[str], timeout: float = CALL_SECONDS):
        """A command in all of the host's namespaces; text output is captured."""
        return self.lab.exec(host, command, capture_output=True, text=True, timeout=timeout,
                             stdin=subprocess.DEVNULL)

    def client(self, command: list[str], timeout: float):
        """A command in the client's network; text output is captured."""
        return self.lab.client(command, capture_output=True, text=True, timeout=timeout,
                               stdin=subprocess.DEVNULL)

    def client_process(self, command: list[str], stdout, stderr) -> subprocess.Popen:
        return self.lab.client_popen(command, stdout=stdout, stderr=stderr,
                                     stdin=subprocess.DEVNULL)

    def understudy(self, host: str, *words: str, timeout: float = CALL_SECONDS):
        return self.run(host, ["understudy", *words], timeout)

    def order(self, host: str, *words: str, timeout: float = CALL_SECONDS) -> str:
        """A command of the CLI that must succeed; its output."""
        done = self.understudy(host, *words, timeout=timeout)
        if done.returncode != 0:
            raise StoryError(f"understudy {' '.join(words)} on {host}: exit {done.returncode}:"
                             f" {(done.stderr or done.stdout).strip()}")
        return done.stdout

    # --- what the daemons say

    def status(self, host: str) -> dict:
        return status.parse(self.order(host, "status", "--json", timeout=10))

    def guest(self, host: str, name: str = GUEST) -> dict:
        """The guest as this host sees it; empty if it cannot say."""
        try:
            return status.find_guest(self.status(host), name)
        except (StoryError, LabError, ValueError, subprocess.TimeoutExpired):
            return {}

    def wait_state(self, host: str, state: str, seconds: float, name: str = GUEST) -> dict:
        """The guest once the host reports it in `state`."""
        last = {}

        def reached():
            last.update(self.guest(host, name))
            return dict(last) if last.get("state") == state else None

        try:
            return wait_for(f"{name} {state} on {host}", reached, seconds)
        except StoryError as error:
            raise StoryError(f"{error}; it is {last.get('state', 'unknown')}"
                             f" {last.get('detail', '')}".rstrip()) from None

    # --- steps that many stories share

    def start_guest(self, host: str = "a", name: str = GUEST):
        """Until its database answers the client."""
        self.order(host, "start", name)
        self.wait_database(name)

    def wait_database(self, name: str = GUEST):
        database = self.database_of(name)
        wait_for(f"{database.name} of {name} at the client", lambda: database.answers(self),
                 BOOT_SECONDS, 0.2)

    def run_load(self, seconds: int, directory: Path) -> LoadRun:
        """The database's own benchmark from start to end, with 8 clients."""
        with Background(self, self.database.load_command(seconds), directory / "load.log") as process:
            return self.database.parse_load(process.wait(seconds + 30))

    def protect(self, host: str = "a", backup: str = "b", name: str = GUEST) -> dict:
        self.order(host, "protect", name, "--backup", backup, timeout=PROTECT_SECONDS)
        return self.wait_state(host, "PROTECTED", PROTECT_SECONDS, name)

    def wait_promotion(self, host: str, since_ns: int, seconds: float, name: str = GUEST) -> dict:
        """The guest on `host` once it runs there by a decision later than `since_ns` (realtime)."""
        def promoted():
            seen = self.guest(host, name)
            outage = seen.get("last_failover", {})
            return seen if (outage.get("decision_unix_us", 0) * 1000 > since_ns
                            and outage.get("running_unix_us", 0) > 0) else None

        return wait_for(f"{name} promoted on {host}", promoted, seconds)

    def wait_protected(self, active: str, backup: str, name: str = GUEST) -> dict:
        """The guest once `active` protects it to `backup`, by itself."""
        def protected():
            seen = self.guest(active, name)
            return seen if (seen.get("state"), seen.get("active_host"), seen.get("backup_host")) == \
                ("PROTECTED", active, backup) else None

        return wait_for(f"{active} to protect {name} to {backup} by itself", protected, PROTECT_SECONDS)

    def heal(self, dead: str, survivor: str, name: str = GUEST) -> dict:
        """The dead host comes back and becomes the survivor's backup."""
        self.lab.start(dead)
        return self.wait_protected(survivor, dead, name)

    def bring_back(self, host: str = "a", survivor: str = "b", name: str = GUEST):
        """After the host's death: the guest stopped where it runs now, a fresh host, no guest."""
        if self.guest(survivor, name).get("active_host") == survivor:
            self.order(survivor, "stop", name)
        if self.lab.host(host).running():
            self.lab.kill(host)
            self.lab.wait_members([other for other in self.lab.hosts if other != host])
        self.lab.start(host)
        for each in (host, survivor):
            self.wait_state(each, "STOPPED", 15, name)

    @contextmanager
    def trace(self, path: Path):
        """Captures the guest network into `path` while inside; every packet until the end."""
        process = self.lab.trace(path)
        try:
            yield
            self._wait_captured(path)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()

    def _wait_captured(self, path: Path):
        """The kernel keeps what it captured for up to a second before tcpdump sees it: a last packet
        of our own tells when all that came before is in the file."""
        mark = f"end of capture {time.monotonic_ns()}".encode()
        self.client([PYTHON, "-c", END_MARK, mark.decode()], timeout=10)
        wait_for("the capture's end", lambda: mark in path.read_bytes()[-TAIL_BYTES:],
                 CAPTURE_SECONDS)
