#!/usr/bin/env python3
"""CorosyncMembership against the real corosync on three hosts made of network namespaces.

Usage: corosync_test.py PROBE
Exit status: 0 passed, 1 failed, 77 skipped (the reason is printed).
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

NODES = (1, 2, 3)
TAG = f"usc{os.getpid()}"
PATIENCE = 15.0  # for what has no promise of its own; seconds

CONFIG = """totem {
  version: 2
  cluster_name: understudy-test
  transport: knet
  token: 200
  token_coefficient: 0
  consensus: 240
  crypto_cipher: none
  crypto_hash: none
  interface {
    linknumber: 0
    knet_ping_interval: 200
    knet_ping_timeout: 800
    knet_pong_count: 2
  }
}
nodelist {
%s}
quorum {
  provider: corosync_votequorum
}
logging {
  to_stderr: no
  to_syslog: no
  to_logfile: yes
  logfile: /var/log/corosync/corosync.log
  timestamp: hires
}
"""

NODE = """  node {
    nodeid: %(id)d
    name: n%(id)d
    ring0_addr: 10.77.0.%(id)d
  }
"""

# Same bind mounts for every process of a host, so no mount namespace has to be kept.
ENTER = """
set -e
mount --bind "$1/run" /run
mount --bind "$1/lib" /var/lib/corosync
mount --bind "$1/log" /var/log/corosync
mount --bind "$1/etc" /etc/corosync
mount --bind "$2" /dev/shm
shift 2
exec "$@"
"""


class Failure(Exception):
    pass


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Process:
    """A process of a host and the lines that it printed."""

    def __init__(self, host, *command):
        enter = ["ip", "netns", "exec", host.namespace, "unshare", "-m", "--propagation", "private",
                 "sh", "-c", ENTER, "enter", host.directory, host.shm]
        self.child = subprocess.Popen([*enter, *command], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                      env={**os.environ, "HOSTNAME": f"n{host.id}"})
        self.lines = []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.child.stdout:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()

    def mark(self):
        with self.changed:
            return len(self.lines)

    def wait(self, pattern, since=0, patience=PATIENCE):
        """The first line after `since` in which the pattern is found."""
        deadline = time.monotonic() + patience
        with self.changed:
            at = since
            while True:
                for line in self.lines[at:]:
                    if re.search(pattern, line):
                        return line
                at = len(self.lines)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Failure(f"no line /{pattern}/ within {patience} s; heard:\n  "
                                  + "\n  ".join(self.lines[since:][-20:]))
                self.changed.wait(left)

    def say(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def end(self, with_signal=signal.SIGKILL):
        if self.child.poll() is None:
            self.child.send_signal(with_signal)
        code = self.child.wait(PATIENCE)
        self.reader.join(PATIENCE)
        self.child.stdin.close()
        self.child.stdout.close()
        return code


class Host:
    def __init__(self, id, root):
        self.id = id
        self.namespace = f"{TAG}-{id}"
        self.directory = os.path.join(root, f"n{id}")
        self.shm = f"/dev/shm/{self.namespace}"
        self.corosync = None
        self.probe = None
        for part in ("run", "lib", "log", "etc"):
            os.makedirs(os.path.join(self.directory, part))
        os.makedirs(self.shm, mode=0o777)
        nodes = "".join(NODE % {"id": node} for node in NODES)
        with open(os.path.join(self.directory, "etc", "corosync.conf"), "w") as file:
            file.write(CONFIG % nodes)

    def network(self):
        ip("netns", "add", self.namespace)
        ip("-n", self.namespace, "link", "set", "lo", "up")
        ip("link", "add", f"p{self.id}", "netns", f"{TAG}-sw", "type", "veth",
           "peer", "name", "eth0", "netns", self.namespace)
        ip("-n", f"{TAG}-sw", "link", "set", f"p{self.id}", "master", "br0", "up")
        ip("-n", self.namespace, "addr", "add", f"10.77.0.{self.id}/24", "dev", "eth0")
        ip("-n", self.namespace, "link", "set", "eth0", "up")

    def cable(self, state):
        ip("-n", f"{TAG}-sw", "link", "set", f"p{self.id}", state)

    def start_corosync(self):
        self.corosync = Process(self, "corosync", "-f")

    def start_probe(self):
        self.probe = Process(self, PROBE, "understudy-test")

    def kill_corosync(self):
        if self.corosync:
            self.corosync.end()
        self.corosync = None

    def kill_probe(self):
        if self.probe:
            self.probe.end()
        self.probe = None

    def view(self, members, quorum, since=0, patience=PATIENCE):
        listed = ",".join(str(member) for member in members)
        return self.probe.wait(f"view .*quorum={quorum} members={listed} ", since, patience)

    def messages(self, since=0):
        return [line.split(" ", 1)[1] for line in self.probe.lines[since:] if " message " in line]


def at(line):
    return float(line.split(" ", 1)[0])


def check(condition, what):
    if not condition:
        raise Failure(what)


# --- the story, one step after the other


def starts_without_corosync(hosts):
    hosts[1].start_probe()
    line = hosts[1].probe.wait(" lost ")
    check("is it running? start it with `systemctl start corosync`" in line, line)
    time.sleep(0.5)  # five attempts
    check(len(hosts[1].probe.lines) == 1, "the same loss is told once")


def forms_a_view_with_quorum(hosts):
    for host in hosts.values():
        host.start_corosync()
    for host in (hosts[2], hosts[3]):
        host.start_probe()
    for host in hosts.values():
        host.view(NODES, "yes")


def delivers_in_one_order(hosts):
    marks = {host.id: host.probe.mark() for host in hosts.values()}
    for turn in range(20):
        for host in hosts.values():
            host.probe.say(f"send from {host.id} turn {turn}")
    hosts[1].probe.say("flood 1000")
    for host in hosts.values():
        for sender in hosts.values():
            host.probe.wait(f"message {sender.id} from {sender.id} turn 19", marks[host.id])
        host.probe.wait("flood 999", marks[host.id])
    heard = [host.messages(marks[host.id]) for host in hosts.values()]
    check(len(heard[0]) == 1060, f"{len(heard[0])} of 1060 messages")
    check(heard[0] == heard[1] == heard[2], "the order differs")


def notices_a_daemon_that_restarts(hosts):
    mark = hosts[1].probe.mark()
    hosts[2].kill_probe()
    hosts[1].view((1, 3), "yes", mark, 1.0)
    hosts[2].start_probe()
    hosts[1].view(NODES, "yes", mark)
    hosts[2].view(NODES, "yes")


def loses_a_killed_host_within_a_second(hosts):
    marks = {node: hosts[node].probe.mark() for node in (1, 2)}
    began = time.monotonic()
    hosts[3].corosync.child.send_signal(signal.SIGKILL)
    hosts[3].probe.child.send_signal(signal.SIGKILL)
    for node in (1, 2):
        took = at(hosts[node].view((1, 2), "yes", marks[node])) - began
        print(f"  n{node} saw it after {took * 1000:.0f} ms")
        check(took < 1.0, f"n{node} needed {took:.3f} s")
    hosts[3].kill_probe()
    hosts[3].kill_corosync()


def a_minority_has_no_quorum(hosts):
    mark = hosts[1].probe.mark()
    hosts[2].kill_corosync()
    hosts[1].view((1,), "no", mark)
    hosts[2].probe.wait(" lost lost corosync")
    mark = hosts[1].probe.mark()
    hosts[2].start_corosync()
    hosts[1].view((1, 2), "yes", mark)
    hosts[2].view((1, 2), "yes")  # the same daemon, connected again


def reconnects_after_corosync_restarts(hosts):
    hosts[3].start_corosync()
    hosts[3].start_probe()
    for host in hosts.values():
        host.view(NODES, "yes", host.probe.mark() - 1)
    mark = hosts[1].probe.mark()
    other = hosts[2].probe.mark()
    hosts[1].kill_corosync()
    hosts[1].start_corosync()
    hosts[1].view(NODES, "yes", mark)
    lost = [line for line in hosts[1].probe.lines[mark:] if " lost " in line]
    check(len(lost) == 1, f"one loss, not {lost}")
    hosts[2].view(NODES, "yes", other)
    hosts[1].probe.say("send back again")
    hosts[3].probe.wait("message 1 back again")


def a_cut_cable_splits_and_heals(hosts):
    marks = {host.id: host.probe.mark() for host in hosts.values()}
    hosts[3].cable("down")
    hosts[1].view((1, 2), "yes", marks[1])
    hosts[3].view((3,), "no", marks[3])
    marks = {host.id: host.probe.mark() for host in hosts.values()}
    hosts[3].cable("up")
    for host in hosts.values():
        host.view(NODES, "yes", marks[host.id])


def who_was_frozen_comes_back_with_a_new_view(hosts):
    marks = {host.id: host.probe.mark() for host in hosts.values()}
    hosts[3].corosync.child.send_signal(signal.SIGSTOP)
    hosts[1].view((1, 2), "yes", marks[1])
    marks[1] = hosts[1].probe.mark()
    hosts[3].corosync.child.send_signal(signal.SIGCONT)
    hosts[1].view(NODES, "yes", marks[1])
    # The others' change may reach it as two views or as one that says who returned.
    view = hosts[3].view(NODES, "yes", marks[3])
    between = any("quorum=no" in line for line in hosts[3].probe.lines[marks[3]:])
    check(between or "returned=1,2" in view, f"n3 does not know that it was away: {view}")


def leaves_at_once(hosts):
    mark = hosts[1].probe.mark()
    began = time.monotonic()
    hosts[3].probe.say("stop")
    took = at(hosts[1].view((1, 2), "yes", mark)) - began
    print(f"  seen after {took * 1000:.0f} ms")
    check(took < 0.2, f"{took:.3f} s")
    check(hosts[3].probe.child.wait(PATIENCE) == 0, "the probe ends cleanly")


STORY = (starts_without_corosync, forms_a_view_with_quorum, delivers_in_one_order,
         notices_a_daemon_that_restarts, loses_a_killed_host_within_a_second,
         a_minority_has_no_quorum, reconnects_after_corosync_restarts,
         a_cut_cable_splits_and_heals, who_was_frozen_comes_back_with_a_new_view, leaves_at_once)


def reason_to_skip():
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    for tool in ("corosync", "ip", "unshare"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    try:
        ip("netns", "add", f"{TAG}-sw")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.strip()}"
    return None


def clean(hosts, root):
    for host in hosts.values():
        host.kill_probe()
        host.kill_corosync()
        shutil.rmtree(host.shm, ignore_errors=True)
    for name in (*(host.namespace for host in hosts.values()), f"{TAG}-sw"):
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    shutil.rmtree(root, ignore_errors=True)


def main():
    for path in ("/var/lib/corosync", "/var/log/corosync", "/etc/corosync"):
        if not os.path.isdir(path):
            print(f"SKIPPED: {path} is missing: corosync is not installed")
            return 77
    reason = reason_to_skip()
    if reason:
        print(f"SKIPPED: {reason}")
        return 77
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # a time limit must leave nothing behind
    root = tempfile.mkdtemp(prefix="understudy-corosync-")
    hosts = {}
    try:
        ip("-n", f"{TAG}-sw", "link", "set", "lo", "up")
        ip("-n", f"{TAG}-sw", "link", "add", "br0", "type", "bridge")
        ip("-n", f"{TAG}-sw", "link", "set", "br0", "up")
        for node in NODES:
            hosts[node] = Host(node, root)
            hosts[node].network()
        for step in STORY:
            print(step.__name__.replace("_", " "), flush=True)
            step(hosts)
    except Failure as failure:
        print(f"FAILED: {failure}")
        for host in hosts.values():
            print(f"--- n{host.id}, corosync's last words")
            log = os.path.join(host.directory, "log", "corosync.log")
            if os.path.exists(log):
                with open(log) as file:
                    print("".join(file.readlines()[-15:]))
        return 1
    finally:
        clean(hosts, root)
    print("passed")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    PROBE = os.path.abspath(sys.argv[1])
    sys.exit(main())
