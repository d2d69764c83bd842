"""The command line of the lab."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import guest, namespaces
from .host import COROSYNC, DAEMON
from .lab import Lab
from .plan import LINKS, UPLINKS, LabError
from .shell import interruption

HELP = """\
lab - hosts made of namespaces on this machine, wired as a small Understudy cluster

    lab [--name N] COMMAND ...        N: letters and digits, default "lab" or $UNDERSTUDY_LAB

Whole lab
    up [--hosts N]                    hosts a, b, ... and the witness w (N in all, default 3), a client,
                                      three networks; returns when Corosync is quorate on every host.
                                      2: a and b, no witness
       [--fencing]                    of two hosts: each can switch the other off (b waits 3 s before it does)
       [--no-guest]                   without a guest in the configuration (else: pg, built if needed)
       [--guest RECIPE]               pg, or one with its root file system on a disk: pg-disk, pg-legacy (IDE,
                                      e1000, VGA), pg-two-disks (virtio, and its log on SCSI), maria (SCSI)
       [--no-daemon]                  Corosync only, no understudyd
       [--link tcp|dpdk]              by what checkpoints travel (tcp)
       [--clear]                      no key: checkpoints travel in clear text
       [--bin DIR]                    where understudyd and understudy are; default $UNDERSTUDY_BIN or
                                      build/release/bin
       [--memory MIB] [--interval MS] [--beacon MS] [--nic MODEL] [--uplink tap|dpdk]
                                      the guest: RAM (1024), longest epoch (25), interval of its UDP
                                      beacon (5, 0 is off), network card (the recipe's: virtio-net-pci, e1000, rtl8139)
                                      and what moves its packets (tap)
    down [--all]                      removes everything of it, also after a crash; --all: of every lab
    status [--json]                   hosts, processes, membership, cuts
    list                              names of the labs on this machine

Guests
    guest build NAME [--force]        builds build/guests/NAME/{vmlinuz,initrd} if the recipe changed
    guest list                        names that can be built

Commands inside
    exec HOST CMD...                  as on the host: `lab exec a understudy status`
    client CMD...                     in the client's network (10.78.0.100; the guest pg is 10.78.0.10):
                                      `lab client psql -h 10.78.0.10 -U postgres bench`
    logs HOST [--follow] [NAME]       its logs: corosync, understudyd, pg.console ...; default all
    trace FILE [--for SECONDS]        the guest network's frames into a pcap file, until ^C

Faults
    kill HOST [--only SERVICE]        the cables go down and every process dies by SIGKILL, at once;
                                      --only understudyd or corosync: that process alone
    start HOST [--only SERVICE]       boots it again, with what was on its disk
    freeze HOST                       SIGSTOP to all its processes
    thaw [HOST]                       SIGCONT to the host's, or to every host's
    cut X [Y] [--one-way]             nothing passes between X and Y (X and everyone) on the cluster
        [--network NETWORK] and replication networks, or on `replication`, `guest` or `all`;
                                      --one-way: only from X to Y. Y may be `client`
    heal                              takes back every cut
    link HOST --rate RATE             limits the host's cluster cable, like 200mbit; `off` lifts it

A host has its own network, process ids, mounts, hostname, /run, /dev/shm, /var/log, /var/lib and
/etc/corosync. Its disk outlives it under /run/understudy-lab/NAME/hosts/HOST and goes with `down`.
Nothing outside the lab's namespaces is touched, and labs with different names do not meet.
Exit status: 0 done, 1 not done (the reason is on stderr), of exec and client the command's own.
"""


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise LabError(f"{message}; lab help")


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="lab", add_help=False)
    top.add_argument("--name", default=os.environ.get("UNDERSTUDY_LAB", "lab"))
    top.add_argument("-h", "--help", action="store_true")
    commands = top.add_subparsers(dest="command", parser_class=Parser)

    def command(name: str, *arguments) -> None:
        sub = commands.add_parser(name, add_help=False)
        sub.add_argument("-h", "--help", action="store_true")
        for words, options in arguments:
            sub.add_argument(*words, **options)

    def arg(*words, **options):
        return words, options

    host = arg("host")
    only = arg("--only", choices=[DAEMON, COROSYNC])
    rest = arg("argv", nargs=argparse.REMAINDER)
    command("up", arg("--hosts", type=int, default=3), arg("--no-guest", action="store_true"),
            arg("--guest", default=""),
            arg("--no-daemon", action="store_true"), arg("--clear", action="store_true"),
            arg("--fencing", action="store_true"),
            arg("--link", choices=LINKS, default="tcp"),
            arg("--bin", type=Path),
            arg("--memory", type=int, default=1024), arg("--interval", type=int, default=25),
            arg("--beacon", type=int, default=5), arg("--nic"),
            arg("--uplink", choices=UPLINKS, default="tap"))
    command("down", arg("--all", action="store_true"))
    command("status", arg("--json", action="store_true"))
    command("list")
    command("guest", arg("verb", choices=["build", "list"]), arg("guest", nargs="?"),
            arg("--force", action="store_true"))
    command("exec", host, rest)
    command("client", rest)
    command("logs", host, arg("log", nargs="?"), arg("--follow", action="store_true"))
    command("trace", arg("file", type=Path), arg("--for", type=float, dest="seconds"))
    command("kill", host, only)
    command("start", host, only)
    command("freeze", host)
    command("thaw", arg("host", nargs="?"))
    command("cut", arg("source"), arg("target", nargs="?"), arg("--one-way", action="store_true"),
            arg("--network", choices=["cluster", "replication", "guest", "all"], default="cluster"))
    command("heal")
    command("link", host, arg("--rate", required=True))
    command("help")
    return top


def say(line: str) -> None:
    print(f"{time.monotonic() - STARTED:6.1f} s  {line}", flush=True)


STARTED = time.monotonic()
FENCING_DELAY_MS = 3000


def do_up(lab: Lab, o) -> int:
    lab.up(hosts=o.hosts, guest_name=None if o.no_guest else o.guest, daemon=not o.no_daemon,
           fencing={"a": FENCING_DELAY_MS, "b": 0} if o.fencing else None,
           binaries=o.bin, encrypted=not o.clear, link=o.link,
           **({} if o.no_guest else {"memory_mib": o.memory, "interval_ms": o.interval,
                                     "beacon_ms": o.beacon, "uplink": o.uplink,
                                     **({"nic": o.nic} if o.nic else {})}))
    return 0


def do_down(lab: Lab, o) -> int:
    for name in namespaces.all_labs() if o.all else [lab.name]:
        Lab(name).down()
    return 0


def do_status(lab: Lab, o) -> int:
    status = lab.status()
    if o.json:
        print(json.dumps(status, indent=2))
        return 0
    print(f"lab {status['name']}   guest {status['guest'] or 'none'}   {status['state']}")
    for name, host in status["hosts"].items():
        services = [f"{service} {'up' if host[service] else 'down'}" for service in (COROSYNC, DAEMON)]
        quorum = "quorate" if host["quorate"] else "not quorate"
        print(f"  {name}  {host['state']:8}{host['address']:12} cables {'up' if host['cables'] else 'down'}"
              f"   {'   '.join(services)}   sees {' '.join(host['members']) or 'nobody'} ({quorum})")
    for cut in status["cuts"]:
        print(f"  cut {cut}")
    return 0


def do_list(_lab: Lab, _o) -> int:
    for name in namespaces.all_labs():
        print(name)
    return 0


def do_guest(_lab: Lab, o) -> int:
    if o.verb == "list":
        print("\n".join(guest.names()))
    elif not o.guest:
        raise LabError(f"guest build: which one? there is {', '.join(guest.names())}")
    else:
        print(guest.build(o.guest, say, o.force))
    return 0


def do_exec(lab: Lab, o) -> int:
    return lab.exec(o.host, given(o.argv)).returncode


def do_client(lab: Lab, o) -> int:
    return lab.client(given(o.argv)).returncode


def given(argv: list[str]) -> list[str]:
    argv = argv[1:] if argv[:1] == ["--"] else argv
    if not argv:
        raise LabError("which command?")
    return argv


def do_logs(lab: Lab, o) -> int:
    paths = lab.host(o.host).logs()
    if o.log:
        paths = [path for path in paths if path.name in (o.log, f"{o.log}.log")]
        if not paths:
            raise LabError(f"host {o.host} has no log {o.log!r}")
    if o.follow:
        return subprocess.run(["tail", "-n", "50", "-F", *map(str, paths)]).returncode
    for path in paths:
        print(f"==> {path.name}", flush=True)
        with open(path, "rb") as log:
            shutil.copyfileobj(log, sys.stdout.buffer)
        sys.stdout.flush()
    return 0


def do_trace(lab: Lab, o) -> int:
    process = lab.trace(o.file)
    say(f"recording into {o.file}" + (f" for {o.seconds:g} s" if o.seconds else ", ^C ends it"))
    try:
        process.wait(o.seconds)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.send_signal(signal.SIGINT)
        process.wait()
    return 0


def do_kill(lab: Lab, o) -> int:
    if o.only:
        lab.kill_service(o.host, o.only)
    else:
        lab.kill(o.host)
    return 0


def do_start(lab: Lab, o) -> int:
    if o.only:
        lab.start_service(o.host, o.only)
    else:
        lab.start(o.host)
    return 0


def do_freeze(lab: Lab, o) -> int:
    lab.freeze(o.host)
    return 0


def do_thaw(lab: Lab, o) -> int:
    lab.thaw(o.host)
    return 0


def do_cut(lab: Lab, o) -> int:
    lab.cut(o.source, o.target, o.one_way, o.network)
    return 0


def do_heal(lab: Lab, _o) -> int:
    lab.heal()
    return 0


def do_link(lab: Lab, o) -> int:
    lab.shape(o.host, None if o.rate == "off" else o.rate)
    return 0


def main(argv: list[str]) -> int:
    try:
        options = parser().parse_args(argv)
        if options.help or options.command in (None, "help"):
            print(HELP, end="")
            return 0
        # A terminal that goes away, or a time limit, must undo a half-made lab as ^C does.
        interruption.install()
        return globals()[f"do_{options.command}"](Lab(options.name, say), options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130
