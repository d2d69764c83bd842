"""One host of the lab: own network, pid, mount, uts and ipc namespaces under a process 1 of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import membership, namespaces
from .plan import CONFIG_IN_HOST, HTTP_FILES, WITNESS, GuestPlan, LabError, Plan, disk_in_host
from .shell import interruption, run, wait_until

# Processes that hold hosts open: nobody waits for them here, a lab outlives the tool that made it.
_holders: list[subprocess.Popen] = []

INIT = Path(__file__).with_name("host_init.py")
START_SECONDS = 15
COROSYNC, DAEMON = "corosync", "understudyd"
DIRECTORIES = ("run", "lab", "log/corosync", "log/understudy", "lib/corosync", "lib/understudy",
               "etc-corosync/uidgid.d")


@dataclass(frozen=True)
class Moment:
    """When something was done, on both clocks (nanoseconds)."""

    monotonic_ns: int
    realtime_ns: int

    @staticmethod
    def now() -> "Moment":
        return Moment(time.monotonic_ns(), time.time_ns())


class Host:
    def __init__(self, plan: Plan, name: str):
        self.plan = plan
        self.name = plan.check_host(name)
        self.namespace = plan.namespace(name)
        self.directory = plan.directory(name)

    # Life and death ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """The host's disk, before its first start."""
        for name in DIRECTORIES:
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        (self.directory / "etc-corosync/corosync.conf").write_text(self.plan.corosync_conf())
        (self.directory / "lab/understudy.conf").write_text(self.plan.understudy_conf(self.name))
        if self.plan.key and self.name != WITNESS:
            key = self.directory / "lab/replication.key"
            key.touch(mode=0o600)
            key.write_bytes(bytes.fromhex(self.plan.key))
        if self.plan.token:
            self._prepare_page()
        if self.name != WITNESS:
            for guest in self.plan.guests():
                for image, disk in zip(guest.disks, self.disks_of(guest)):
                    self._prepare_disk(Path(image), disk, guest.home or self.plan.hosts[0])
        if self.plan.clocks:
            self.set_clock(0)
        os.mkfifo(self.directory / "lab/requests")

    def _prepare_page(self) -> None:
        token, certificate, key = (self.directory / "lab" / name for name in HTTP_FILES)
        token.touch(mode=0o600)
        token.write_text(self.plan.token + "\n")
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "30", "-subj", f"/CN=understudy lab, host {self.name}", "-keyout", str(key), "-out",
            str(certificate), "-addext", f"subjectAltName=DNS:localhost,IP:127.0.0.1,IP:{self.plan.address(self.name)}")

    def _prepare_disk(self, image: Path, disk: Path, home: str) -> None:
        if self.name == home:
            subprocess.run(["cp", "--sparse=always", str(image), str(disk)], check=True)
        else:
            with open(disk, "wb") as empty:
                empty.truncate(image.stat().st_size)

    @property
    def disks(self) -> list[Path]:
        """The first guest's disk images on this host, as seen from outside."""
        return self.disks_of(self.plan.guest)

    def disks_of(self, guest: GuestPlan) -> list[Path]:
        return [self.directory / "lib" / Path(disk_in_host(i, guest.name)).relative_to("/var/lib")
                for i in range(len(guest.disks))]

    @property
    def disk(self) -> Path:
        return self.disks[0]

    def boot(self) -> None:
        """Process 1 runs and the host has its file system; no service yet."""
        if self.running():
            raise LabError(f"host {self.name} runs already")
        (self.directory / "lab/ready").unlink(missing_ok=True)
        for stale in (*self.directory.glob("lab/*.pid"), *self.directory.glob("lab/*.exit")):
            stale.unlink()
        with open(self.directory / "log/init.log", "ab") as log, interruption:
            init = subprocess.Popen(
                ["nsenter", f"--net={namespaces.NETNS / self.namespace}", "unshare", "--mount", "--pid",
                 "--uts", "--ipc", "--fork", "--mount-proc", "--propagation", "slave", "sh", "-c",
                 'hostname "$0" && exec "$@"', self.name, sys.executable, "-I", str(INIT),
                 str(self.directory)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
        _holders[:] = [holder for holder in _holders if holder.poll() is None] + [init]
        ready = self.directory / "lab/ready"
        wait_until(lambda: ready.exists() or init.poll() is not None, START_SECONDS,
                   f"host {self.name} to boot")
        if not ready.exists():
            said = (self.directory / "log/init.log").read_text(errors="replace").strip()
            raise LabError(f"host {self.name} did not boot: {said[-500:]}")

    def kill(self) -> None:
        """SIGKILL to every process at once: process 1 dies and the kernel takes the others with it."""
        init = self.init_pid()
        if init:
            namespaces.send(init, signal.SIGKILL)
        namespaces.empty(self.namespace)

    def freeze(self) -> Moment:
        """SIGSTOP to every process; those that are born meanwhile too."""
        moment = Moment.now()
        def all_stopped() -> bool:
            moving = [pid for pid in self.pids() if namespaces.state_of(pid) not in "TtZ"]
            for pid in moving:
                namespaces.send(pid, signal.SIGSTOP)
            return not moving
        wait_until(all_stopped, 5, f"host {self.name} to freeze", interval=0)
        return moment

    def thaw(self) -> None:
        for pid in self.pids():
            namespaces.send(pid, signal.SIGCONT)

    # Processes -----------------------------------------------------------------------------------

    def pids(self) -> list[int]:
        """All processes of the host, the helpers that hold it open from outside not included."""
        return [pid for pid in namespaces.pids(self.namespace) if len(namespaces.pids_inside(pid)) > 1]

    def init_pid(self) -> int:
        """Process 1 as seen from outside; 0 if the host is dead."""
        own_depth = len(namespaces.pids_inside(os.getpid()))
        for pid in namespaces.pids(self.namespace):
            inside = namespaces.pids_inside(pid)
            if len(inside) == own_depth + 1 and inside[-1] == 1:
                return pid
        return 0

    def running(self) -> bool:
        return self.init_pid() != 0

    def frozen(self) -> bool:
        init = self.init_pid()
        return init != 0 and namespaces.state_of(init) in "Tt"

    def service_pid(self, service: str) -> int:
        """The service's process id as seen from outside; 0 if it does not run."""
        try:
            inner = int((self.directory / f"lab/{service}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0
        return next((pid for pid in namespaces.pids(self.namespace)
                     if len(numbers := namespaces.pids_inside(pid)) > 1 and numbers[-1] == inner), 0)

    def exit_status(self, service: str) -> int | None:
        """How the service ended (negative: by that signal); None if it has not."""
        try:
            return int((self.directory / f"lab/{service}.exit").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return None

    def signal_service(self, service: str, number: signal.Signals) -> Moment:
        pid = self.service_pid(service)
        if not pid:
            raise LabError(f"{service} does not run on host {self.name}")
        moment = Moment.now()
        namespaces.send(pid, number)
        return moment

    # Services ------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        path = f"{self.plan.binaries}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "HOSTNAME": self.name, **(self._own_clock() if self.plan.clocks else {})}

    def _own_clock(self) -> dict[str, str]:
        """A wall clock of its own; time that counts from the boot is the machine's, as a clock's jump leaves it."""
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            raise LabError("libfaketime is not installed: run tests/install")
        return {"LD_PRELOAD": str(libraries[0]), "FAKETIME_TIMESTAMP_FILE": "/run/lab/clock",
                "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}

    def set_clock(self, ahead: int) -> None:
        clock = self.directory / "lab/clock"
        fresh = clock.with_suffix(".new")
        fresh.write_text(f"{ahead:+d}\n")
        fresh.rename(clock)

    def start_service(self, service: str, argv: list[str]) -> None:
        if not self.running():
            raise LabError(f"host {self.name} is dead: lab start {self.name}")
        if self.service_pid(service):
            raise LabError(f"{service} runs already on host {self.name}")
        # One that was killed has left its namespaces before it is gone and its end is told.
        wait_until(lambda: not (self.directory / f"lab/{service}.pid").exists(), START_SECONDS,
                   f"the last {service} on host {self.name} to be gone")
        (self.directory / f"lab/{service}.exit").unlink(missing_ok=True)
        request = {"name": service, "argv": argv, "env": self.environment()}
        with open(self.directory / "lab/requests", "w") as requests:
            requests.write(json.dumps(request) + "\n")
        wait_until(lambda: self.service_pid(service) or self.exit_status(service) is not None,
                   START_SECONDS, f"{service} to start on host {self.name}")

    def start_corosync(self) -> None:
        if not shutil.which("corosync"):
            raise LabError("corosync is not installed: run tests/install")
        # The membership is read from the log: what an earlier life wrote must not be taken for news.
        log = self.log(COROSYNC)
        if log.exists():
            with open(log.with_suffix(".log.1"), "ab") as past:
                past.write(log.read_bytes())
            log.unlink()
        self.start_service(COROSYNC, ["corosync", "-f"])

    def start_daemon(self) -> None:
        binary = Path(self.plan.binaries) / DAEMON
        if not binary.exists():
            raise LabError(f"{binary} does not exist: build it, or say --bin, or --no-daemon")
        self.start_service(DAEMON, [str(binary), "--config", CONFIG_IN_HOST])
        self.wait_daemon()

    def wait_daemon(self) -> None:
        """Until the daemon takes commands; its last words if it ends instead."""
        def serving() -> bool:
            if self.exit_status(DAEMON) is not None:
                raise LabError(f"understudyd on host {self.name} ended with "
                               f"{self.exit_status(DAEMON)}: {self.last_words(DAEMON)}")
            with socket.socket(socket.AF_UNIX) as command:  # the file may be of an earlier life
                return command.connect_ex(f"/proc/{self.init_pid()}/root/run/understudy/control.sock") == 0
        wait_until(serving, START_SECONDS, f"understudyd on host {self.name} to serve")

    def has_daemon(self) -> bool:
        return self.plan.daemon

    def is_witness(self) -> bool:
        return self.name == WITNESS

    # Looking inside ------------------------------------------------------------------------------

    def enter(self, argv: list[str]) -> list[str]:
        """The command line that runs argv inside; it gets SIGTERM when the one outside is killed."""
        init = self.init_pid()
        if not init:
            raise LabError(f"host {self.name} is dead: lab start {self.name}")
        environment = [f"{name}={value}" for name, value in self.environment().items()]
        return ["nsenter", "--target", str(init), "--mount", "--net", "--pid", "--uts", "--ipc", "--",
                "setpriv", "--pdeathsig", "TERM", "--", "env", *environment, *argv]

    def membership(self) -> membership.Membership:
        if not self.service_pid(COROSYNC):
            return membership.Membership()
        return membership.read(self.log(COROSYNC))

    def log(self, service: str) -> Path:
        if service == COROSYNC:
            return self.directory / "log/corosync/corosync.log"
        return self.directory / f"log/{service}.log"

    def logs(self) -> list[Path]:
        return sorted(path for path in (self.directory / "log").rglob("*") if path.is_file())

    def last_words(self, service: str, count: int = 5) -> str:
        try:
            lines = self.log(service).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return "(no log)"
        return " | ".join(lines[-count:])
