"""The ledger: one TCP connection that inserts numbered rows and remembers every acknowledgement.

It is the client that must not notice the death of a host. It opens one connection (through libpq, or
pymysql) and never another; each row is a transaction of its own; each acknowledgement is written to a file, with
its times, before the next row is sent. What the file says and the table lacks was lost.

Runs as a process in the client's network namespace:

    python3 -m labkit.ledger run   --dsn DSN --acks FILE --verdict FILE [--count N]
    python3 -m labkit.ledger check --dsn DSN --acks FILE --verdict FILE

`run` ends on SIGTERM (after the row under way is acknowledged), after N rows, or with the
connection. An acknowledgement is a line `number monotonic_ns realtime_ns`. Both commands write
their verdict as JSON; `check` uses a connection of its own, after the story.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

TABLE = "ledger"
CONNECT_SECONDS = 10
# libpq must never give up by itself: no keepalive and no user timeout, so that a connection ends
# only when the other end says so.
PATIENT = {"connect_timeout": CONNECT_SECONDS, "keepalives": 0, "tcp_user_timeout": 0}


@dataclass(frozen=True)
class Ack:
    """Row `number` was acknowledged at these times (nanoseconds)."""

    number: int
    monotonic_ns: int
    realtime_ns: int


@dataclass
class RunVerdict:
    """What the ledger saw. `sent` counts one row more than `acknowledged` when it ended waiting."""

    sent: int
    acknowledged: int
    backend_pid: int
    local_port: int
    same_backend: bool
    failure: str  # why the connection ended, empty if it did not


@dataclass
class CheckVerdict:
    """Acknowledged rows against the table's."""

    acknowledged: int
    lost: int
    duplicated: int
    unacknowledged: int
    backends: int  # server processes that wrote rows: one connection, one process
    examples: list

    @property
    def good(self) -> bool:
        return (self.lost == 0 and self.duplicated == 0 and self.unacknowledged <= 1
                and self.backends <= 1)


@dataclass(frozen=True)
class Gap:
    """The longest time between two acknowledgements in a row."""

    ms: float
    begins_ns: int  # realtime
    ends_ns: int


def parse_acks(text: str) -> list[Ack]:
    """The last line may be torn (the writer was killed); it then counts as never acknowledged."""
    lines = text.split("\n")
    return [Ack(*map(int, line.split())) for line in lines[:-1] if line]


def read_acks(path: Path) -> list[Ack]:
    return parse_acks(Path(path).read_text()) if Path(path).exists() else []


def longest_gap(acks: list[Ack], until_monotonic_ns: int | None = None) -> Gap:
    """With `until`, the silence from the last acknowledgement to that moment counts as well."""
    times = [(a.monotonic_ns, a.realtime_ns) for a in acks]
    if times and until_monotonic_ns is not None and until_monotonic_ns > times[-1][0]:
        late = until_monotonic_ns - times[-1][0]
        times.append((until_monotonic_ns, times[-1][1] + late))
    gaps = [Gap((b[0] - a[0]) / 1e6, a[1], b[1]) for a, b in zip(times, times[1:])]
    return max(gaps, key=lambda gap: gap.ms, default=Gap(0.0, 0, 0))


def first_ack_after(acks: list[Ack], realtime_ns: int) -> Ack | None:
    return next((ack for ack in acks if ack.realtime_ns > realtime_ns), None)


def compare(acks: list[Ack], rows: list[tuple[int, int]]) -> CheckVerdict:
    """`rows` are the table's (number, backend pid)."""
    seen = Counter(number for number, _ in rows)
    acknowledged = {ack.number for ack in acks}
    lost = sorted(acknowledged - seen.keys())
    twice = sorted(number for number, times in seen.items() if times > 1)
    extra = sorted(seen.keys() - acknowledged)
    examples = ([f"row {n} was acknowledged and is gone" for n in lost[:3]]
                + [f"row {n} is there {seen[n]} times" for n in twice[:3]]
                + [f"row {n} was never acknowledged" for n in extra[1:4]])
    acknowledged_twice = len(acks) - len(acknowledged)
    return CheckVerdict(len(acks), len(lost) + acknowledged_twice, len(twice), len(extra),
                        len({pid for _, pid in rows}), examples)


class Postgres:
    """What is PostgreSQL's own in the ledger. `connect` imports, so that the pure parts need no library."""

    backend = "pg_backend_pid()"
    # The table itself, not its index, is what counts.
    rows = ("set enable_indexscan = off; set enable_indexonlyscan = off; set enable_bitmapscan = off;"
            f" select number, backend from {TABLE}")

    def connect(self, dsn: str):
        import psycopg2

        connection = psycopg2.connect(dsn, application_name="ledger", **PATIENT)
        connection.autocommit = True
        return connection

    def descriptor(self, connection) -> int:
        return connection.fileno()


class Mysql:
    """The same of MariaDB: `mysql://USER@ADDRESS/DATABASE`. A server thread is what its "backend" is."""

    backend = "connection_id()"
    rows = f"select number, backend from {TABLE} ignore index ({TABLE}_number)"

    def connect(self, dsn: str):
        import pymysql

        where = urlsplit(dsn)
        return pymysql.connect(host=where.hostname, user=where.username, database=where.path[1:],
                               connect_timeout=CONNECT_SECONDS, autocommit=True)

    def descriptor(self, connection) -> int:
        return connection._sock.fileno()  # pymysql has no other word for it


def dialect(dsn: str):
    return Mysql() if dsn.startswith("mysql:") else Postgres()


def local_port(descriptor: int) -> int:
    import socket

    with socket.socket(fileno=os.dup(descriptor)) as alias:
        return alias.getsockname()[1]


class Ledger:
    """One run over one connection."""

    def __init__(self, dsn: str, acks_file: Path, count: int | None):
        self.dialect_ = dialect(dsn)
        self.connection_ = self.dialect_.connect(dsn)
        self.acks_file_ = acks_file
        self.count_ = count
        self.stop_ = False

    def stop(self, *_):
        self.stop_ = True

    def run(self) -> RunVerdict:
        verdict = RunVerdict(0, 0, 0, self.local_port(), False, "")
        try:
            cursor = self.connection_.cursor()
            verdict.backend_pid = self.backend(cursor)
            cursor.execute(f"drop table if exists {TABLE}")
            # No unique key: a row committed twice must be visible, not refused.
            cursor.execute(f"create table {TABLE} (number bigint, backend int)")
            cursor.execute(f"create index {TABLE}_number on {TABLE} (number)")
            self.insert_rows(cursor, verdict)
            verdict.same_backend = (self.backend(cursor) == verdict.backend_pid
                                    and self.local_port() == verdict.local_port)
        except Exception as error:  # any end of the connection is the verdict, not a crash
            verdict.failure = f"{type(error).__name__}: {error}".strip()
        return verdict

    def backend(self, cursor) -> int:
        cursor.execute(f"select {self.dialect_.backend}")
        return cursor.fetchone()[0]

    def local_port(self) -> int:
        return local_port(self.dialect_.descriptor(self.connection_))

    def insert_rows(self, cursor, verdict: RunVerdict):
        acks = os.open(self.acks_file_, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        try:
            while not self.stop_ and verdict.sent != self.count_:
                verdict.sent += 1
                cursor.execute(f"insert into {TABLE} values (%s, {self.dialect_.backend})",
                               (verdict.sent,))
                line = f"{verdict.sent} {time.monotonic_ns()} {time.time_ns()}\n"
                os.write(acks, line.encode())
                verdict.acknowledged += 1
        finally:
            os.close(acks)


def run_command(options) -> int:
    ledger = Ledger(options.dsn, options.acks, options.count)
    signal.signal(signal.SIGTERM, ledger.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for the story, which then sends SIGTERM
    verdict = ledger.run()
    options.verdict.write_text(json.dumps(asdict(verdict)))
    return 1 if verdict.failure else 0


def check_command(options) -> int:
    database = dialect(options.dsn)
    with database.connect(options.dsn) as connection, connection.cursor() as cursor:
        cursor.execute(database.rows)
        verdict = compare(read_acks(options.acks), cursor.fetchall())
    options.verdict.write_text(json.dumps(asdict(verdict)))
    return 0 if verdict.good else 1


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="labkit.ledger", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in (("run", run_command), ("check", check_command)):
        command = commands.add_parser(name)
        command.add_argument("--dsn", required=True)
        command.add_argument("--acks", required=True, type=Path)
        command.add_argument("--verdict", required=True, type=Path)
        command.set_defaults(function=function)
        if name == "run":
            command.add_argument("--count", type=int)
    options = parser.parse_args(arguments)
    return options.function(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
