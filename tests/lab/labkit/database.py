"""The databases that the lab's guests have: how a client loads, checks and ends each of them."""

import re
import signal
from dataclasses import dataclass

from . import story
from .plan import GUEST_ADDRESS

SYSBENCH_ROWS = 10000  # guests/maria/files/prepare.sql
CLIENT_SECONDS = 20
OPEN_SECONDS = 3600  # of a load that is told when to end
# In the client's network; the words are printed by a Python of Debian's with Debian's pymysql.
MYSQL = """
import sys, pymysql
connection = pymysql.connect(host=sys.argv[1], user="root", database="bench", connect_timeout=2)
cursor = connection.cursor()
cursor.execute(sys.argv[2])
for row in cursor.fetchall():
    print(*row, sep="\\t")
"""


@dataclass(frozen=True)
class Postgres:
    address: str = GUEST_ADDRESS
    name = "PostgreSQL"
    checker = "pg_amcheck"

    @property
    def dsn(self) -> str:
        return story.dsn(self.address)

    def answers(self, hosts) -> bool:
        return story.postgres_answers(hosts, self.address)

    def load_command(self, seconds: int, clients: int = 8) -> list[str]:
        return story.pgbench_command(seconds, clients, self.address)

    def parse_load(self, text: str) -> story.LoadRun:
        return story.parse_pgbench(text)

    def open_load_command(self, _least_seconds: int, clients: int = 8) -> list[str]:
        """A load for `end_load`. pgbench's time begins before its clients are connected, and a slow guest takes
        longer than that."""
        return self.load_command(OPEN_SECONDS, clients)

    def end_load(self, load: story.Background, seconds: float) -> story.LoadRun:
        """With the transactions under way, when there have been some; each may take so long."""
        try:
            story.wait_for("transactions of pgbench", lambda: not load.running or any(
                tps for _, tps in self.parse_load(load.text()).seconds), seconds)
        except story.StoryError:
            load.kill()
        load.send_signal(signal.SIGALRM)  # pgbench's own, when its time is over
        return self.parse_load(load.wait(seconds))

    def check(self, hosts) -> tuple[bool, str]:
        return story.amcheck(hosts, self.address)

    def power_off(self, hosts):
        """The guest ends by itself soon, its file systems clean (guests/pg-disk/files/poweroff)."""
        hosts.client(["/usr/lib/postgresql/15/bin/psql", "-q", "-c",
                      "copy (select 1) to program 'touch /run/poweroff/now'", self.dsn], CLIENT_SECONDS)


@dataclass(frozen=True)
class Mariadb:
    address: str = GUEST_ADDRESS
    name = "MariaDB"
    checker = "CHECK TABLE EXTENDED"

    @property
    def dsn(self) -> str:
        return f"mysql://root@{self.address}/bench"

    def query(self, hosts, sql: str, seconds: float = CLIENT_SECONDS):
        return hosts.client([story.PYTHON, "-c", MYSQL, self.address, sql], seconds)

    def answers(self, hosts) -> bool:
        return self.query(hosts, "select 1").returncode == 0

    def load_command(self, seconds: int, clients: int = 8) -> list[str]:
        return ["sysbench", "oltp_write_only", "--db-driver=mysql", f"--mysql-host={self.address}",
                "--mysql-user=root", "--mysql-db=bench", "--tables=1", f"--table-size={SYSBENCH_ROWS}",
                f"--threads={clients}", f"--time={seconds}", "--report-interval=1", "run"]

    def parse_load(self, text: str) -> story.LoadRun:
        return parse_sysbench(text)

    def open_load_command(self, least_seconds: int, clients: int = 8) -> list[str]:
        """sysbench's time begins when all its clients are connected."""
        return self.load_command(least_seconds, clients)

    def end_load(self, load: story.Background, seconds: float) -> story.LoadRun:
        return self.parse_load(load.wait(seconds))

    def check(self, hosts) -> tuple[bool, str]:
        """Every table of the database; good, and what it said."""
        done = self.query(hosts, "check table sbtest1, ledger extended", story.CHECK_SECONDS)
        said = (done.stdout + done.stderr).strip().splitlines()
        good = done.returncode == 0 and len(said) == 2 and all(line.endswith("\tOK") for line in said)
        return good, "every table" if good else (said or ["failed"])[-1]

    def power_off(self, hosts):
        self.query(hosts, "select 1 into outfile '/run/poweroff/now'")


def parse_sysbench(text: str) -> story.LoadRun:
    """A transaction that a deadlock ended is retried by sysbench and does not count as failed."""
    result = story.LoadRun()
    for line in text.splitlines():
        if match := re.search(r"transactions: +(\d+) +\(([\d.]+) per sec", line):
            result.transactions, result.tps = int(match[1]), float(match[2])
            result.finished = True
        elif match := re.match(r" +avg: +([\d.]+)", line):
            result.latency_ms = float(match[1])
        elif match := re.search(r"reconnects: +(\d+)", line):
            result.failed = int(match[1])
        elif line.startswith("FATAL"):
            result.errors.append(line)
    return result


DATABASES = {"postgresql": Postgres, "mariadb": Mariadb}
