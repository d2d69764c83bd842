"""What clients asked of the guest and what they heard, and whether one database can have said all that.

Two writers insert numbered rows, each over one connection, one row a transaction; a reader asks over a
third for the highest number of each. No connection is ever opened twice. Every operation is a line of a
file, with the moments of its beginning and its end (CLOCK_MONOTONIC, nanoseconds):

    w WRITER NUMBER BEGIN END         acknowledged
    r HIGHEST_OF_0 HIGHEST_OF_1 BEGIN END

A writer's rows are a register that only its writer changes, by one. Such a history is linearizable
exactly if each read says at least what had been acknowledged before it began and at most what had been
sent before it ended, and no read says less than one before it; `check` looks for just that, and at the
table in the end.

    python3 history.py --dsn DSN --file FILE      until SIGTERM; exit 1, and why, if a connection ends
"""

import argparse
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

TABLE = "history"
WRITERS = 2
# A connection ends only when the other end says so.
PATIENT = {"connect_timeout": 10, "keepalives": 0, "tcp_user_timeout": 0}
EXAMPLES = 5
STOP_SECONDS = 20


@dataclass(frozen=True)
class Write:
    writer: int
    number: int
    begin: int
    end: int


@dataclass(frozen=True)
class Read:
    highest: tuple[int, ...]
    begin: int
    end: int


def parse(text: str) -> tuple[list[Write], list[Read]]:
    """A torn last line is an operation that nobody heard the end of."""
    writes, reads = [], []
    for line in text.split("\n")[:-1]:
        kind, *numbers = line.split()
        *values, begin, end = map(int, numbers)
        if kind == "w":
            writes.append(Write(*values, begin, end))
        else:
            reads.append(Read(tuple(values), begin, end))
    return writes, reads


def check_reads(writes: list[Write], reads: list[Read]) -> list[str]:
    """What no database could have said."""
    wrong = []
    for writer in range(WRITERS):
        own = sorted((write for write in writes if write.writer == writer), key=lambda write: write.number)
        highest = 0
        sent, acknowledged = 0, 0  # how many of `own` had been, when the read at hand ended or began
        for read in sorted(reads, key=lambda read: read.begin):
            said = read.highest[writer]
            while acknowledged < len(own) and own[acknowledged].end < read.begin:
                acknowledged += 1
            while sent < len(own) and own[sent].begin < read.end:
                sent += 1
            # One more than was acknowledged may have been under way when the history ended.
            most = sent if sent < len(own) else sent + 1
            if said < acknowledged:
                wrong.append(f"writer {writer}: row {acknowledged} was acknowledged, and a later read ends at {said}")
            if said > most:
                wrong.append(f"writer {writer}: a read saw row {said}, and {most} had been sent")
            if said < highest:
                wrong.append(f"writer {writer}: a read saw row {highest}, a later one ends at {said}")
            highest = max(highest, said)
    return wrong


def check_table(writes: list[Write], rows: list[tuple[int, int]]) -> list[str]:
    """`rows` are the table's (writer, number)."""
    seen = Counter(rows)
    acknowledged = Counter((write.writer, write.number) for write in writes)
    last = {writer: max((number for of, number in acknowledged if of == writer), default=0)
            for writer in range(WRITERS)}
    return ([f"writer {writer}: row {number} was acknowledged and is gone"
             for writer, number in sorted(acknowledged.keys() - seen.keys())]
            + [f"writer {writer}: row {number} is there {times} times"
               for (writer, number), times in sorted(seen.items()) if times > 1]
            + [f"writer {writer}: row {number} was acknowledged {times} times"
               for (writer, number), times in sorted(acknowledged.items()) if times > 1]
            + [f"writer {writer}: row {number} was never asked for"
               for writer, number in sorted(seen.keys() - acknowledged.keys()) if number != last[writer] + 1])


def longest_silence(writes: list[Write], begin: int, end: int) -> float:
    """Milliseconds between two acknowledgements (of anybody) that overlap these moments."""
    times = sorted(write.end for write in writes)
    return max((later - earlier for earlier, later in zip(times, times[1:])
                if later > begin and earlier < end), default=0) / 1e6


# --- the clients


def connect(dsn: str):
    import psycopg2  # here, so that the checks need no library

    connection = psycopg2.connect(dsn, application_name=TABLE, **PATIENT)
    connection.autocommit = True
    return connection


class Clients:
    def __init__(self, dsn: str, path: Path):
        self.dsn_ = dsn
        self.file_ = open(path, "a", buffering=1)  # whole lines
        self.stop_ = threading.Event()
        self.failures_: list[str] = []

    def run(self) -> list[str]:
        with connect(self.dsn_).cursor() as cursor:
            cursor.execute(f"drop table if exists {TABLE}")
            # No unique key: a row committed twice must be visible, not refused.
            cursor.execute(f"create table {TABLE} (writer int, number bigint)")
            cursor.execute(f"create index on {TABLE} (writer, number)")
        threads = [threading.Thread(target=self.guarded, args=(self.write, writer), daemon=True)
                   for writer in range(WRITERS)]
        threads.append(threading.Thread(target=self.guarded, args=(self.read,), daemon=True))
        for thread in threads:
            thread.start()
        self.stop_.wait()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self.failures_.append("a connection hangs")
        return self.failures_

    def stop(self, *_):
        self.stop_.set()

    def guarded(self, work, *arguments):
        try:
            with connect(self.dsn_).cursor() as cursor:
                work(cursor, *arguments)
        except Exception as error:  # any end of a connection is the verdict
            self.failures_.append(f"{type(error).__name__}: {error}".strip())
            self.stop()

    def write(self, cursor, writer: int):
        number = 0
        while not self.stop_.is_set():
            number += 1
            begin = time.monotonic_ns()
            cursor.execute(f"insert into {TABLE} values (%s, %s)", (writer, number))
            self.file_.write(f"w {writer} {number} {begin} {time.monotonic_ns()}\n")

    def read(self, cursor):
        highest = ", ".join(f"(select coalesce(max(number), 0) from {TABLE} where writer = {writer})"
                            for writer in range(WRITERS))
        while not self.stop_.wait(0.05):
            begin = time.monotonic_ns()
            cursor.execute(f"select {highest}")
            numbers = " ".join(map(str, cursor.fetchone()))
            self.file_.write(f"r {numbers} {begin} {time.monotonic_ns()}\n")


def read_table(dsn: str) -> list[tuple[int, int]]:
    """The table itself, not its index, is what counts."""
    with connect(dsn).cursor() as cursor:
        cursor.execute("set enable_indexscan = off; set enable_indexonlyscan = off;"
                       " set enable_bitmapscan = off")
        cursor.execute(f"select writer, number from {TABLE}")
        return cursor.fetchall()


def table_command(options) -> int:
    for writer, number in read_table(options.dsn):
        print(writer, number)
    return 0


def run_command(options) -> int:
    clients = Clients(options.dsn, options.file)
    signal.signal(signal.SIGTERM, clients.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C is for the campaign, which then sends SIGTERM
    failures = clients.run()
    print("\n".join(failures))
    return 1 if failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dsn", required=True)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--file", type=Path, help="run the clients; their history goes here")
    what.add_argument("--table", action="store_true", help="print the table's rows instead")
    options = parser.parse_args()
    return table_command(options) if options.table else run_command(options)


if __name__ == "__main__":
    sys.exit(main())
