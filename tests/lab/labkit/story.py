"""What happens between the death of a host and the report: processes, polls and their verdicts.

Everything here takes the lab as a `Hosts` (hosts.py) and returns values; nothing prints.
"""

import json
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from .ledger import Ack, CheckVerdict, RunVerdict, first_ack_after, read_acks
from .plan import GUEST, GUEST_ADDRESS

PGBENCH = "/usr/lib/postgresql/15/bin/pgbench"
PG_AMCHECK = "/usr/lib/postgresql/15/bin/pg_amcheck"
PYTHON = "/usr/bin/python3"  # Debian's, which has Debian's psycopg2
LAB_DIRECTORY = Path(__file__).resolve().parent.parent
LEDGER_STOP_SECONDS = 20
CHECK_SECONDS = 300  # patience: an emulated guest that has just booted reads all of its database from the disk


def dsn(address: str = GUEST_ADDRESS) -> str:
    return f"host={address} port=5432 user=postgres dbname=bench"


DSN = dsn()


class StoryError(Exception):
    """The story cannot go on; the message says what was waited for."""


def wait_for(what: str, condition, seconds: float, every: float = 0.05):
    """The first true value of `condition()`; StoryError after `seconds`."""
    end = time.monotonic() + seconds
    last_error = ""
    while time.monotonic() < end:
        try:
            if value := condition():
                return value
        except (subprocess.SubprocessError, ValueError, KeyError) as error:
            last_error = f" ({error})"
        time.sleep(every)
    raise StoryError(f"{what}: not within {seconds:g} s{last_error}")


# --- pgbench


@dataclass
class LoadRun:
    """What pgbench (or sysbench: database.py) printed."""

    tps: float = 0.0
    latency_ms: float = 0.0
    transactions: int = 0
    failed: int = 0
    finished: bool = False
    seconds: list[tuple[float, float]] = field(default_factory=list)  # (unix time, tps)
    errors: list[str] = field(default_factory=list)

    @property
    def fault(self) -> str:
        """Why it does not show that the database served all its clients to the end; empty if it does."""
        if self.errors:
            return self.errors[0]
        if not self.finished:
            return "it had not ended in time"
        if self.failed:
            return f"{self.failed} transactions failed"
        return "" if self.transactions else "no transaction: its time was over before its clients were connected"


def parse_pgbench(text: str) -> LoadRun:
    """Standard output and error together. `-P 1 --progress-timestamp` gives `seconds`."""
    result = LoadRun()
    for line in text.splitlines():
        if match := re.match(r"progress: ([\d.]+) s, ([\d.]+) tps", line):
            result.seconds.append((float(match[1]), float(match[2])))
        elif match := re.match(r"tps = ([\d.]+)", line):
            result.tps = float(match[1])
        elif match := re.match(r"latency average = ([\d.]+) ms", line):
            result.latency_ms = float(match[1])
        elif match := re.match(r"number of transactions actually processed: (\d+)", line):
            result.transactions = int(match[1])
            result.finished = True
        elif match := re.match(r"number of failed transactions: (\d+)", line):
            result.failed = int(match[1])
        elif re.search(r"aborted|error|FATAL|server closed|could not", line):
            result.errors.append(line)
    return result


def pgbench_command(seconds: int, clients: int = 8, address: str = GUEST_ADDRESS) -> list[str]:
    return [PGBENCH, "--no-vacuum", "--client", str(clients), "--jobs", "1", "--time", str(seconds),
            "--progress", "1", "--progress-timestamp", "--host", address,
            "--username", "postgres", "bench"]


class Background:
    """A process in the client's namespace, its output in a file; killed when left."""

    def __init__(self, hosts, command: list[str], output: Path):
        self.output_ = output
        with open(output, "wb") as out:
            self.process_ = hosts.client_process(command, stdout=out, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    @property
    def running(self) -> bool:
        return self.process_.poll() is None

    def text(self) -> str:
        return self.output_.read_text(errors="replace")

    def wait(self, seconds: float) -> str:
        try:
            self.process_.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        return self.text()

    def send_signal(self, number: signal.Signals):
        if self.running:
            self.process_.send_signal(number)

    def kill(self):
        if self.running:
            self.process_.kill()
            self.process_.wait()


# --- the ledger


class LedgerProcess:
    """labkit.ledger in the client's namespace, with the database of one guest."""

    def __init__(self, hosts, directory: Path, name: str = "ledger", guest: str = GUEST):
        self.hosts_ = hosts
        self.dsn_ = hosts.database_of(guest).dsn
        self.acks_path = directory / f"{name}.acks"
        self.verdict_path = directory / f"{name}.json"
        self.check_path = directory / f"{name}.check.json"
        for path in (self.acks_path, self.verdict_path, self.check_path):
            path.unlink(missing_ok=True)
        self.process_ = Background(hosts, self.command("run", self.verdict_path),
                                   directory / f"{name}.log")

    def command(self, verb: str, verdict: Path) -> list[str]:
        return ["env", f"PYTHONPATH={LAB_DIRECTORY}", PYTHON, "-m", "labkit.ledger", verb,
                "--dsn", self.dsn_, "--acks", str(self.acks_path), "--verdict", str(verdict)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process_.kill()

    @property
    def running(self) -> bool:
        return self.process_.running

    def acks(self) -> list[Ack]:
        return read_acks(self.acks_path)

    def wait_acks(self, count: int, seconds: float) -> list[Ack]:
        return wait_for(f"{count} rows acknowledged",
                        lambda: acks if len(acks := self.acks()) >= count else None, seconds)

    def wait_ack_after(self, realtime_ns: int, seconds: float) -> Ack:
        return wait_for("a reply to the ledger",
                        lambda: first_ack_after(self.acks(), realtime_ns), seconds)

    def stop(self) -> RunVerdict:
        """Ends the ledger after its row under way; one that hangs is killed and has failed."""
        self.process_.send_signal(signal.SIGTERM)
        log = self.process_.wait(LEDGER_STOP_SECONDS)
        if not self.verdict_path.exists():
            acks = len(self.acks())
            return RunVerdict(acks + 1, acks, 0, 0, False,
                              log.strip().splitlines()[-1] if log.strip() else "it hung")
        return RunVerdict(**json.loads(self.verdict_path.read_text()))

    def check(self) -> CheckVerdict:
        """Over a new connection; StoryError when the table cannot be read."""
        done = self.hosts_.client(self.command("check", self.check_path), timeout=60)
        if not self.check_path.exists():
            raise StoryError(f"the ledger's table cannot be read: {done.stderr.strip()}")
        return CheckVerdict(**json.loads(self.check_path.read_text()))


def amcheck(hosts, address: str = GUEST_ADDRESS) -> tuple[bool, str]:
    """pg_amcheck over every table and index of the database; good, and what it said."""
    try:
        done = hosts.client([PG_AMCHECK, "--host", address, "--username", "postgres",
                             "--heapallindexed", "bench"], timeout=CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        return False, f"not done in {CHECK_SECONDS} s"
    said = (done.stdout + done.stderr).strip()
    good = done.returncode == 0 and not said
    return good, "every table and index" if good else (said.splitlines() or ["failed"])[0]


def postgres_answers(hosts, address: str = GUEST_ADDRESS) -> bool:
    done = hosts.client(["/usr/lib/postgresql/15/bin/pg_isready", "-q", "-t", "1", "-h",
                         address], timeout=5)
    return done.returncode == 0
