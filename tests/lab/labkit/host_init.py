"""Process 1 of a host: gives it a file system of its own, starts its services, reaps what dies.

    python3 host_init.py DIRECTORY        (as process 1 of new mount, pid, uts and ipc namespaces)

DIRECTORY is the host's disk and outlives it: `etc-corosync`, `lib`, `log` and `lab` are seen as
/etc/corosync, /var/lib, /var/log and /run/lab. /run and /dev/shm are empty at each start, as after a
boot. Requests come as lines of JSON through the FIFO `lab/requests`: {"name", "argv", "env"}. A service
writes to `log/NAME.log`; `lab/NAME.pid` is its process id as seen inside, `lab/NAME.exit` its end.
Nothing is restarted: a test wants to see what died. When process 1 is killed the kernel kills the rest.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CONTROL = Path("/run/lab")
LOGS = Path("/var/log")
TREE = Path(__file__).resolve().parents[3]


def mount(*words: str) -> None:
    subprocess.run(["mount", "--no-mtab", *words], check=True)


def make_file_system(directory: Path) -> None:
    keep_tree_visible(directory)
    mount("-t", "sysfs", "sysfs", "/sys")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm")
    # The new /run is made aside, since the host's directory lies below the old one.
    fresh = directory / "run"
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(fresh))
    (fresh / "lab").mkdir()
    (fresh / "understudy").mkdir()
    (fresh / "lock").mkdir()
    mount("--bind", str(directory / "lab"), str(fresh / "lab"))
    power = directory.parents[1] / "power"
    if power.exists():
        (fresh / "power").mkdir()
        mount("--bind", str(power), str(fresh / "power"))
    for source, target in (("etc-corosync", "/etc/corosync"), ("lib", "/var/lib"), ("log", "/var/log")):
        mount("--rbind", str(directory / source), target)
    mount("--move", str(fresh), "/run")


def keep_tree_visible(directory: Path) -> None:
    """A tree below /var/lib, as build servers have it, would be hidden with everything in it."""
    for source, target in (("lib", "/var/lib"), ("log", "/var/log")):
        if TREE.is_relative_to(target):
            inside = directory / source / TREE.relative_to(target)
            inside.mkdir(parents=True, exist_ok=True)
            mount("--bind", str(TREE), str(inside))


def start(request: dict, services: dict[int, str]) -> None:
    name = request["name"]
    (CONTROL / f"{name}.exit").unlink(missing_ok=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # its end comes after its beginning
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            log = os.open(LOGS / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.closerange(3, 256)
            os.execvpe(request["argv"][0], request["argv"], {**os.environ, **request["env"]})
        except OSError as error:
            print(f"{request['argv'][0]}: {error}", file=sys.stderr, flush=True)
        os._exit(127)
    services[pid] = name
    write(CONTROL / f"{name}.pid", f"{pid}\n")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def write(path: Path, text: str) -> None:
    """Whole or not at all: somebody polls these files."""
    beside = path.with_suffix(path.suffix + ".new")
    beside.write_text(text)
    beside.rename(path)


def reap(services: dict[int, str]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if name := services.pop(pid, None):
            write(CONTROL / f"{name}.exit",
                  f"{os.waitstatus_to_exitcode(status)} {time.clock_gettime_ns(time.CLOCK_REALTIME)}\n")
            # Last: without this file nothing more is said of the process.
            (CONTROL / f"{name}.pid").unlink(missing_ok=True)


def serve() -> None:
    services: dict[int, str] = {}
    signal.signal(signal.SIGCHLD, lambda *_: reap(services))
    # Both ends open: the FIFO then never says "end of file".
    requests = os.fdopen(os.open(CONTROL / "requests", os.O_RDWR), "r", buffering=1)
    write(CONTROL / "ready", "")
    while line := requests.readline():
        start(json.loads(line), services)


def main() -> None:
    directory = Path(sys.argv[1])
    make_file_system(directory)
    for name in ("HOSTNAME", "XDG_RUNTIME_DIR"):
        os.environ.pop(name, None)
    os.chdir("/")
    serve()


main()
