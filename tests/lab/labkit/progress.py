"""Steps with their durations, one line each; the output of a running command as one moving line."""

import collections
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

LAST_LINES = 40  # of a command that failed
SHOW_EVERY = 10.0  # seconds between lines on a terminal that cannot overwrite one


class Step:
    def __init__(self):
        self.note_ = ""

    def note(self, text: str):
        """Stands behind the step when it is done."""
        self.note_ = text


class Progress:
    """`moving`: the terminal can overwrite a line."""

    def __init__(self, moving: bool, out=sys.stdout):
        self.started = time.monotonic()
        self.moving_ = moving
        self.out_ = out
        self.title_ = ""
        self.shown_ = 0.0

    @contextmanager
    def step(self, title: str):
        self.title_ = title
        self.shown_ = time.monotonic()
        begin = time.monotonic()
        step = Step()
        if self.moving_:
            self.line(f"  ...      {title}", end="")
        outcome = "failed"
        try:
            yield step
            outcome = step.note_
        finally:
            seconds = time.monotonic() - begin
            self.line(f"  {seconds:6.1f} s {title}" + (f": {outcome}" if outcome else ""), end="\n")

    def tick(self, text: str):
        """Something of the running step, shown if there is room or time for it."""
        if self.moving_:
            self.line(f"  ...      {self.title_}: {text}", end="")
        elif time.monotonic() - self.shown_ > SHOW_EVERY:
            self.shown_ = time.monotonic()
            self.line(f"           {self.title_}: {text}", end="\n")

    def line(self, text: str, end: str):
        if self.moving_:
            text = "\r\033[K" + text[:shutil.get_terminal_size().columns - 1]
        self.out_.write(text + end)
        self.out_.flush()

    def run(self, command: list[str], cwd=None):
        """CalledProcessError, after the command's last lines, if it fails."""
        last: collections.deque = collections.deque(maxlen=LAST_LINES)
        with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, text=True, errors="replace") as process:
            try:
                for line in process.stdout:
                    if line := line.strip():
                        last.append(line)
                        self.tick(line)
            except BaseException:
                process.terminate()
                raise
        if process.returncode != 0:
            self.line("", end="\n")
            self.out_.write("\n".join(last) + "\n")
            raise subprocess.CalledProcessError(process.returncode, command)
