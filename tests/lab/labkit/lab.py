"""The lab as a whole. Every verb of `lab help` is a method here; tests and the demo call these."""

import fcntl
import os
import secrets
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

from . import guest, namespaces, power_switch
from .host import COROSYNC, DAEMON, Host, Moment
from .membership import Membership
from .network import Network
from .plan import (CLIENT, GUEST_BRIDGE, STATE_ROOT, GuestPlan, LabError, Plan, another_guest,
                   check_name, host_names)
from .shell import run, wait_until

ROOT = Path(__file__).resolve().parents[3]
QUORUM_SECONDS = 30
KEY_BYTES = 32
PROGRAMS = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables", "ethtool": "ethtool",
            "nsenter": "util-linux", "setpriv": "util-linux", "corosync": "corosync", "openssl": "openssl"}


def default_binaries() -> Path:
    return Path(os.environ.get("UNDERSTUDY_BIN", ROOT / "build/release/bin")).resolve()


def quiet(_: str) -> None:
    pass


class Lab:
    """A lab by name, up or not. `say` is told what is going on, a line at a time.

    up() raises LabError and leaves nothing behind if the lab cannot be made. All other verbs find a
    running lab by its state directory, so any process may use them.
    """

    def __init__(self, name: str = "lab", say=quiet):
        self.name = check_name(name)
        self.state = STATE_ROOT / name
        self.say = say
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        if self._plan is None:
            try:
                self._plan = Plan.from_json((self.state / "plan.json").read_text())
            except FileNotFoundError:
                raise LabError(f"lab {self.name!r} is not up: lab up") from None
        return self._plan

    @property
    def network(self) -> Network:
        return Network(self.plan)

    @property
    def hosts(self) -> list[str]:
        return self.plan.hosts

    def host(self, name: str) -> Host:
        return Host(self.plan, name)

    # Up and down ---------------------------------------------------------------------------------

    def up(self, hosts: int = 3, guest_name: str | None = "", daemon: bool = True,
           binaries: Path | None = None, extra: list[str] | None = None, encrypted: bool = True,
           link: str | None = None, fencing: dict[str, int] | None = None,
           fence_agent: str = "", fence_options: list[str] | None = None,
           others: list[dict] | None = None, token: str = "", pages: dict[str, str] | None = None,
           clocks: bool = False, **guest_settings) -> None:
        """Builds the lab and returns when Corosync is quorate on every host (and understudyd serves).

        guest_name names a recipe of tests/lab/guests, default the environment's UNDERSTUDY_GUEST or pg; the
        guest itself is always called pg. Each of `others` is one more guest of that recipe, pg2, pg3 ..., with
        settings of its own beside guest_settings. fencing gives hosts that can be fenced, with the delay in ms, by the lab's
        power switch unless another agent is named. None is --no-guest; encrypted False leaves replication in clear text; token is the pages', and
        pages where browsers find them, by host (plan.py); link None is the
        environment's UNDERSTUDY_LINK, or tcp. guest_settings
        are fields of GuestPlan (memory_mib, beacon_ms, interval_ms, nic, ...; the environment's
        UNDERSTUDY_UPLINK is the default of `uplink`). The guest is built if needed but not started:
        `understudy start`.
        """
        require_root_and_programs()
        names = host_names(hosts)
        with self._locked():
            if self.exists():
                raise LabError(f"lab {self.name!r} is up already, or its rest is: lab down")
            if guest_name is not None:
                guest_name = guest_name or os.environ.get("UNDERSTUDY_GUEST", "pg")
                guest_plan = self._guest_plan(guest_name, guest_settings)
                more = [self._guest_plan(guest_name, {**guest_settings, **another_guest(number), **settings})
                        for number, settings in enumerate(others or [], 2)]
            else:
                guest_plan, more = None, []
            self._plan = Plan(self.name, names, str((binaries or default_binaries()).resolve()), daemon,
                              guest_plan, more, link=link or os.environ.get("UNDERSTUDY_LINK", "tcp"),
                              fencing=fencing or {}, fence_agent=fence_agent or str(ROOT / "tests/lab/fence_lab"),
                              fence_options=fence_options or ["plug={host}", f"socket={power_switch.IN_HOST}"],
                              clocks=clocks, key=secrets.token_hex(KEY_BYTES) if encrypted else "",
                              token=token, pages=pages or {}, extra=extra or [])
            try:
                self._build()
            except LabError as error:
                raise LabError(f"{error} (logs: {self._undo()})") from None
            except BaseException:
                self._remove()
                raise

    def _guest_plan(self, name: str, settings: dict) -> GuestPlan:
        files = guest.build(name, self.say)
        machine = guest.machine(name)
        given = {"uplink": os.environ.get("UNDERSTUDY_UPLINK", "tap"), "nic": machine.nic,
                 "display": machine.display, "boot_words": machine.boot_words,
                 "database": machine.database, "disk_models": list(machine.disk_models)}
        return GuestPlan(kernel=str(files / "vmlinuz"), initrd=str(files / "initrd"),
                         disks=[str(image) for image in guest.images(files)],
                         **{**given, **settings})

    def _build(self) -> None:
        plan = self.plan
        self.state.mkdir(parents=True)
        (self.state / "plan.json").write_text(plan.to_json())
        self.say(f"wires: {', '.join(plan.hosts)}, {CLIENT}")
        self.network.build()
        for name in plan.hosts:
            self.host(name).prepare()
        if plan.fencing:
            power_switch.start(self)
        for name in plan.hosts:
            self._start(name)
        self.say("waiting for quorum")
        self.wait_members(plan.hosts)
        if plan.daemon:
            self.say("understudyd on every host")
            for name in plan.hosts:
                self.host(name).start_daemon()
        self.say(f"lab {self.name} is up")

    def down(self) -> None:
        """Removes the lab, whole or half made; what is not there is not missed."""
        if os.geteuid() != 0:
            raise LabError("the lab needs root")
        with self._locked():
            self._remove()

    def _remove(self) -> None:
        left = namespaces.of_lab(self.name)
        # All processes first: a host that outlives its peers would start a failover in the meantime.
        for namespace in left:
            for pid in namespaces.pids(namespace):
                namespaces.send(pid, signal.SIGKILL)
        for namespace in left:
            namespaces.delete(namespace)
        shutil.rmtree(self.state, ignore_errors=True)
        self._plan = None

    def _undo(self) -> Path:
        """Removes what could not be made whole, but keeps its logs."""
        kept = ROOT / "build/lab-logs" / self.name
        shutil.rmtree(kept, ignore_errors=True)
        self.collect_logs(kept)
        self._remove()
        return kept

    def exists(self) -> bool:
        return self.state.exists() or bool(namespaces.of_lab(self.name))

    # Hosts ---------------------------------------------------------------------------------------

    def kill(self, name: str) -> Moment:
        """The death of a host. The cables go first, by milliseconds: a dying kernel would send FIN and
        RST for the dead processes' sockets, which a machine without power does not. Returns the moment
        before the first of both."""
        host = self.host(name)
        init = host.init_pid()
        moment = Moment.now()
        self.network.cables(name, "down")
        if init:
            namespaces.send(init, signal.SIGKILL)
        host.kill()
        return moment

    def start(self, name: str, wait: bool = True) -> None:
        """Brings a dead host back: cables, Corosync and, once it has members, understudyd."""
        if self.host(name).running():
            raise LabError(f"host {name} runs already")
        self._start(name)
        if wait:
            self.wait_members([n for n in self.hosts if self.host(n).running()], at=[name])
        if self.plan.daemon:
            self.host(name).start_daemon()

    def start_together(self, names) -> None:
        """Dead hosts come back at once, as when the power returns: none waits for another."""
        for name in names:
            self.start(name, wait=False)
        self.wait_members([name for name in self.hosts if self.host(name).running()])

    def _start(self, name: str) -> None:
        host = self.host(name)
        self.network.cables(name, "up")
        host.boot()
        host.start_corosync()

    def freeze(self, name: str) -> Moment:
        return self.host(name).freeze()

    def thaw(self, name: str | None = None) -> None:
        """Thaws the host, or every frozen one."""
        for each in [name] if name else self.hosts:
            self.host(each).thaw()

    def kill_service(self, name: str, service: str = DAEMON) -> Moment:
        """SIGKILL to understudyd (or corosync) alone; the host lives on."""
        return self.host(name).signal_service(service, signal.SIGKILL)

    def start_service(self, name: str, service: str = DAEMON) -> None:
        host = self.host(name)
        if service == COROSYNC:
            host.start_corosync()
        elif service == DAEMON:
            host.start_daemon()
        else:
            raise LabError(f"service {service!r}: {COROSYNC} or {DAEMON}")

    def stop_service(self, name: str, service: str = DAEMON, seconds: float = 10) -> int:
        """SIGTERM, and its exit status when it has ended."""
        host = self.host(name)
        host.signal_service(service, signal.SIGTERM)
        wait_until(lambda: host.exit_status(service) is not None, seconds, f"{service} to stop on {name}")
        return host.exit_status(service)

    def set_clock(self, name: str, ahead: int) -> None:
        """The wall clock of a lab with `clocks`: so many seconds ahead of the machine's. At once for what asks it."""
        self.host(name).set_clock(ahead)

    # Wires ---------------------------------------------------------------------------------------

    def cut(self, source: str, target: str | None = None, one_way: bool = False,
            network: str = "cluster") -> Moment:
        """Cuts the path between two hosts; without a target, between the host and every other."""
        self.host(source)
        targets = [target] if target else [name for name in self.hosts if name != source]
        moment = Moment.now()
        for each in targets:
            if each != CLIENT:
                self.host(each)
            self.network.cut(source, each, one_way, "guest" if each == CLIENT else network)
        return moment

    def heal(self) -> None:
        self.network.heal()

    def shape(self, name: str, rate: str | None) -> None:
        """Limits the host's cluster cable to e.g. `200mbit`, both ways; None lifts the limit."""
        self.host(name)
        self.network.shape(name, rate)

    def trace(self, path: Path) -> subprocess.Popen:
        """A tcpdump of the guest bridge into a pcap file, recording when this returns. SIGINT ends it
        with a whole file; `down` ends it too."""
        path = Path(path).resolve()
        path.unlink(missing_ok=True)
        process = subprocess.Popen(
            [*self._in_namespace("switch"), "tcpdump", "-i", GUEST_BRIDGE, "-n", "-U", "-s", "0",
             "-B", "65536", "--time-stamp-precision", "nano", "-Z", "root", "-w", str(path)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            cwd="/")
        # "listening on" comes when the socket is open.
        line = process.stderr.readline()
        while line and "listening on" not in line:
            line = process.stderr.readline()
        if not line:
            raise LabError(f"tcpdump ended with {process.wait()}: can it write {path}?")
        return process

    # Commands inside -----------------------------------------------------------------------------

    def exec(self, name: str, argv: list[str], **options) -> subprocess.CompletedProcess:
        """Runs a command on a host; options as for subprocess.run."""
        return subprocess.run(self.host(name).enter(argv), cwd="/", **options)

    def popen(self, name: str, argv: list[str], **options) -> subprocess.Popen:
        return subprocess.Popen(self.host(name).enter(argv), cwd="/", **options)

    def understudy(self, name: str, *words: str, timeout: float = 60) -> subprocess.CompletedProcess:
        """The CLI on a host, output captured as text; a failure is in `returncode` and `stderr`."""
        return self.exec(name, ["understudy", *words], capture_output=True, text=True, timeout=timeout)

    def client(self, argv: list[str], **options) -> subprocess.CompletedProcess:
        """Runs a command in the client's network; it sees the machine's files."""
        return subprocess.run([*self._in_namespace(CLIENT), *argv], **options)

    def client_popen(self, argv: list[str], **options) -> subprocess.Popen:
        """The process is the command itself, so signals to it arrive."""
        return subprocess.Popen([*self._in_namespace(CLIENT), *argv], **options)

    def _in_namespace(self, place: str) -> list[str]:
        return ["nsenter", f"--net={namespaces.NETNS / self.plan.namespace(place)}", "--"]

    # Looking -------------------------------------------------------------------------------------

    def members(self, name: str) -> Membership:
        return self.host(name).membership()

    def wait_members(self, expected: list[str], at: list[str] | None = None, quorate: bool | None = None,
                     seconds: float = QUORUM_SECONDS) -> None:
        """Until every host of `at` (default: the expected ones) sees exactly the expected members and
        is quorate, or not, as the majority says."""
        if quorate is None:
            # Two hosts alone: either goes on, and Corosync leaves it to fencing that only one does.
            quorate = 2 * len(expected) > len(self.hosts) or len(self.hosts) == 2
        wanted = Membership(tuple(sorted(self.plan.number(name) for name in expected)), quorate)

        def settled() -> bool:
            for name in at or expected:
                host = self.host(name)
                if host.exit_status(COROSYNC) is not None:
                    raise LabError(f"corosync on host {name} ended: {host.last_words(COROSYNC)}")
                if host.membership() != wanted:
                    return False
            return True
        wait_until(settled, seconds, f"{', '.join(at or expected)} to see the members "
                   f"{', '.join(expected)} ({'quorate' if quorate else 'not quorate'})", 0.05)

    def status(self) -> dict:
        hosts = {}
        for name in self.hosts:
            host = self.host(name)
            seen = host.membership()
            hosts[name] = {
                "state": "dead" if not host.running() else "frozen" if host.frozen() else "running",
                "address": self.plan.address(name), "cables": self.network.cables_up(name),
                "corosync": host.service_pid(COROSYNC), "understudyd": host.service_pid(DAEMON),
                "members": [self.hosts[number - 1] for number in seen.members],
                "quorate": seen.quorate, "processes": len(host.pids())}
        return {"name": self.name, "hosts": hosts, "cuts": self.network.cuts(),
                "state": str(self.state), "binaries": self.plan.binaries,
                "guest": ", ".join(guest.name for guest in self.plan.guests()) or None}

    def collect_logs(self, target: Path) -> None:
        """Copies every host's logs to target/HOST/, for a post-mortem."""
        for name in self.hosts:
            logs = self.host(name).directory / "log"
            if logs.exists():
                shutil.copytree(logs, Path(target) / name, dirs_exist_ok=True)

    @contextmanager
    def _locked(self):
        """One `up` or `down` of this name at a time; the lock goes with its process, its file with
        the lab."""
        STATE_ROOT.mkdir(parents=True, exist_ok=True)
        path = STATE_ROOT / f".{self.name}.lock"
        with open_locked(path) as lock:
            if lock is None:
                raise LabError(f"another process is working on lab {self.name!r}")
            try:
                yield
            finally:
                if not self.exists():
                    path.unlink(missing_ok=True)


@contextmanager
def open_locked(path: Path):
    """The file with its lock, or None if another process has it."""
    while True:
        with open(path, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                current = os.path.samestat(os.fstat(lock.fileno()), path.stat())
            except BlockingIOError:
                yield None
                return
            except FileNotFoundError:
                current = False
            if current:  # else it was removed by its last owner after we opened it
                yield lock
                return


def require_root_and_programs() -> None:
    if os.geteuid() != 0:
        raise LabError("the lab makes namespaces: it needs root")
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if missing:
        raise LabError(f"missing packages: {' '.join(missing)}; run tests/install")
    run("ip", "netns", "list")
