"""The ground of the integration tests: one lab for all tests of a class, logs kept."""

import atexit
import os
import random
import signal
import sys
import tempfile
import unittest
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/lab"))

from labkit import output_commit, pcap, story  # noqa: E402
from labkit.hosts import GUEST, Hosts  # noqa: E402
from labkit.lab import default_binaries  # noqa: E402
from labkit.shell import interruption  # noqa: E402
from labkit.story import StoryError, wait_for  # noqa: E402,F401

LOGS = REPOSITORY / "build/test-logs"


def require_lab():
    if os.geteuid() != 0:
        raise unittest.SkipTest("the lab is made of namespaces: it needs root")
    for name in ("understudyd", "understudy"):
        if not (default_binaries() / name).exists():
            raise unittest.SkipTest(f"{name} is not built: cmake --build --preset release")


def test_seed() -> int:
    """Of this run: UNDERSTUDY_SEED, or a fresh one; printed either way."""
    seed = int(os.environ.get("UNDERSTUDY_SEED", random.SystemRandom().randrange(10**6)))
    print(f"seed {seed} (again: UNDERSTUDY_SEED={seed})", file=sys.stderr)
    return seed


def take_down_at_exit(lab):
    """^C and the runner's SIGTERM skip class cleanups: end as KeyboardInterrupt, and then `lab` goes
    down all the same. Down twice is harmless."""
    def take_down():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second ^C must not stop the cleaning up
        lab.down()

    interruption.install()
    atexit.register(take_down)


class LabCase(unittest.TestCase):
    """`self.hosts` is the lab, `self.directory` for its files. `lab_options` are Lab.up's."""

    lab_options: dict = {}
    protected = False  # the guest runs on a, protected to b, before the first test

    @classmethod
    def setUpClass(cls):
        require_lab()
        # Labs of two test processes, or of a crashed one, never meet.
        cls.hosts = Hosts(f"t{os.getpid()}")
        cls.addClassCleanup(cls.hosts.close)
        take_down_at_exit(cls.hosts.lab)
        cls.temporary = tempfile.TemporaryDirectory(prefix="understudy-test-")
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.directory = Path(cls.temporary.name)
        try:
            cls.hosts.up(**cls.lab_options)
            if cls.protected:
                cls.hosts.start_guest("a")
                cls.hosts.protect("a", "b")
        except BaseException:
            cls.hosts.save_logs(LOGS / f"{cls.__name__}.setUpClass")
            raise

    def run(self, result=None):
        """Logs are taken as soon as a test fails or is interrupted, while the lab still stands."""
        def bad() -> int:
            return len(result.failures) + len(result.errors) if result else 0

        before = bad()
        try:
            outcome = super().run(result)
        except KeyboardInterrupt:
            self.keep_logs()
            raise
        if bad() > before:
            self.keep_logs()
        return outcome

    def keep_logs(self):
        target = LOGS / self.id().rpartition(".")[2]
        self.hosts.save_logs(target)
        print(f"\nlogs of {self.id()} in {target}", file=sys.stderr)

    def guest(self, host: str) -> dict:
        return self.hosts.guest(host)

    def assert_epochs_advance(self, host: str = "a", seconds: float = 10.0):
        """The guest is protected, and commits go on."""
        first = self.hosts.wait_state(host, "PROTECTED", seconds)
        wait_for("another committed epoch",
                 lambda: self.guest(host).get("epoch", 0) > first["epoch"] + 2, seconds)

    def assert_ledger_good(self, ledger: story.LedgerProcess, verdict):
        self.assertEqual(verdict.failure, "", "the ledger's connection ended")
        self.assertTrue(verdict.same_backend, "another connection or server process")
        table = ledger.check()
        self.assertTrue(table.good, f"{table}")

    def assert_wire_good(self, capture: Path, since_ns: int | None = None):
        """Nothing that the guest's network was shown was taken back, and no connection was reset."""
        packets = list(pcap.read(capture))
        for finding in (output_commit.check_beacons(output_commit.beacons(packets), since_ns),
                        output_commit.check_streams(packets, story.GUEST_ADDRESS),
                        output_commit.check_no_reset(packets, story.GUEST_ADDRESS)):
            self.assertTrue(finding.good, finding.violations)

    def qemu_runs(self, host: str) -> bool:
        """Whether any QEMU lives on the host."""
        for pid in self.hosts.lab.host(host).pids():
            try:
                if Path(f"/proc/{pid}/comm").read_text().startswith("qemu"):
                    return True
            except OSError:
                pass  # it ended meanwhile
        return False
