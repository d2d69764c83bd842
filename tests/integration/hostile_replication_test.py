"""A backup that receives rubbish refuses it, says why, keeps its last commit and its session."""

import re
import subprocess
import unittest

from lab_case import GUEST, LabCase, test_seed, wait_for

from labkit import story, wire
from labkit.plan import REPLICATION_PORT

PROTECT_AGAIN_SECONDS = 60
PATIENCE_SECONDS = 15  # a connection that says nothing may live this long
AT_ONCE = 40           # connections that an attacker opens and forgets
# What the line in the backup's log says, besides who was refused.
REASONS_IN_CLEAR = {
    "rubbish": "magic",
    "an HTTP request": "magic",
    "half a header": "ended in the middle of a frame",
    "a truncated hello": "ended in the middle of a frame",
    "a wrong version": "version 99",
    "an oversized length": "at most [0-9]+ are allowed",
    "an unknown type": "unknown type 200",
    "a wrong checksum": "checksum",
    "pages without a hello": "checksum|not expected",
    "a commit from nowhere": "sequence number|checksum|not expected",
    "nothing": "said nothing within",
}


NO_HANDSHAKE = "this is no handshake of Understudy"
NO_KEY = "speaks in clear text, and this host asks for a key; give both hosts the same"
REASONS_WITHOUT_KEY = {
    name: NO_HANDSHAKE if name in ("rubbish", "an HTTP request") else NO_KEY
    for name in REASONS_IN_CLEAR
} | {
    "nothing": "said nothing within",
    "a forged hello": NO_KEY,
    "a chunk of rubbish": NO_HANDSHAKE,
    "a chunk that is too long": NO_HANDSHAKE,
    "a chunk that is cut off": "hung up in the handshake",
    "a TLS hello without a key": "did not show that it knows our key",
}
# On host b: what reaches its port from another host within argv[2] seconds of the connection's first
# packet, as one stream in hex. Only the beginning: a replayed handshake gets no further anyway.
EAVESDROPPER = """
import socket, struct, sys, time
port, seconds = int(sys.argv[1]), float(sys.argv[2])
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
print("listening", flush=True)
stream, begin, until = {}, None, time.monotonic() + seconds
while time.monotonic() < until:
    wire.settimeout(max(0.01, until - time.monotonic()))
    try:
        packet, where = wire.recvfrom(65536)
    except TimeoutError:
        break
    ip = (packet[0] & 15) * 4
    if packet[9] != 6 or where[2] == socket.PACKET_OUTGOING:
        continue
    source, target, number = struct.unpack_from(">HHI", packet, ip)
    flags = packet[ip + 13]
    if target != port:
        continue
    if flags & 2:
        stream, begin, until = {}, (source, number + 1), min(until, time.monotonic() + 1)
    elif begin and source == begin[0]:
        end = struct.unpack_from(">H", packet, 2)[0]
        stream[(number - begin[1]) % 2**32] = packet[ip + (packet[ip + 12] >> 4) * 4:end]
heard = b""
for at in sorted(stream):
    if at > len(heard):
        break
    heard += stream[at][len(heard) - at:]
print(heard[:20000].hex())
"""


class HostileCase(LabCase):
    """`reasons` are what `attacks` are refused with."""

    protected = True
    reasons: dict[str, str] = {}

    @property
    def backup(self) -> str:
        return self.hosts.lab.plan.address("b")

    def send(self, data: bytes) -> str:
        done = self.hosts.run("w", [story.PYTHON, "-c", wire.SENDER, self.backup,
                                    str(REPLICATION_PORT), data.hex(), str(PATIENCE_SECONDS)])
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.split()[0]

    def assert_all_refused(self, attacks: dict[str, bytes]):
        self.assertEqual(attacks.keys(), self.reasons.keys())
        for name, data in attacks.items():
            with self.subTest(attack=name):
                self.assert_refused(data, self.reasons[name])
        self.assertIn("pc.ram", self.hosts.order("a", "verify", GUEST))

    def assert_refused(self, data: bytes, reason: str):
        said = len(self.hosts.daemon_log("b"))
        term = self.guest("a")["term"]
        self.assertIn(self.send(data), ("closed", "reset"), "the connection was left open")
        self.wait_refusal(said, reason)
        self.assert_epochs_advance()
        self.assertEqual(self.guest("a")["term"], term, "it caused a failover")

    def wait_refusal(self, said: int, reason: str):
        """A line of b's log, younger than its first `said` characters, names the peer and why."""
        address = re.escape(self.hosts.lab.plan.address("w"))
        line = re.compile(rf"replication\.refused from={address}:\d+ why=\".*({reason})")
        wait_for(f"`{reason}` in b's log",
                 lambda: line.search(self.hosts.daemon_log("b")[said:]), 5)

    def assert_flood_survived(self):
        # By name it is the last test of its class: its own refusals use up the log's budget of lines.
        script = ("import socket, sys, time\n"
                  "peers = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)"
                  f" for _ in range({AT_ONCE})]\n"
                  "print('all', flush=True)\n"
                  "time.sleep(3)\n")
        done = self.hosts.run("w", [story.PYTHON, "-c", script, self.backup, str(REPLICATION_PORT)])
        # Refusing some of them is as good as taking them.
        self.assertTrue(done.returncode == 0 or "Connection" in done.stderr, done.stderr)
        self.assert_epochs_advance()


class HostileInClearTest(HostileCase):
    lab_options = {"encrypted": False}
    reasons = REASONS_IN_CLEAR

    def test_each_is_refused_with_its_reason_and_the_session_goes_on(self):
        self.assertTrue(self.guest("a")["link"].endswith(" up clear"), self.guest("a")["link"])
        self.assertIn("links.clear", self.hosts.daemon_log("a"))
        self.assert_all_refused(wire.attacks(test_seed()))

    def test_many_silent_connections_do_not_stop_it(self):
        self.assert_flood_survived()


class HostileWithoutKeyTest(HostileCase):
    reasons = REASONS_WITHOUT_KEY

    def test_each_without_the_key_is_refused_and_the_session_goes_on(self):
        self.assertTrue(self.guest("a")["link"].endswith(" up encrypted"), self.guest("a")["link"])
        seed = test_seed()
        self.assert_all_refused(wire.attacks(seed) | wire.attacks_on_handshake(seed))

    def test_a_recorded_session_is_refused(self):
        if self.hosts.lab.plan.link != "tcp":
            self.skipTest("sessions travel in datagrams here: hostile_datagram_test records those")
        recorded = self.record_a_session()
        self.assertEqual(recorded[3], 0xE0, "it begins with a handshake")
        self.assertNotIn(wire.MAGIC_BYTES, recorded, "a frame in clear text")
        self.assertNotIn(self.hosts.lab.name.encode(), recorded, "the cluster's name in the hello")
        self.assert_refused(recorded, NO_HANDSHAKE)
        # Its first word is genuine; nothing of the second can be said twice.
        first = 4 + int.from_bytes(recorded[:3], "little")
        self.assert_refused(recorded[:first], "hung up in the handshake")

    def record_a_session(self) -> bytes:
        """The first bytes of a's next session with b, as somebody on the wire sees them."""
        self.hosts.order("a", "unprotect", GUEST)
        listener = self.hosts.lab.popen(
            "b", [story.PYTHON, "-c", EAVESDROPPER, str(REPLICATION_PORT),
                  str(PROTECT_AGAIN_SECONDS)],
            stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        try:
            self.assertEqual(listener.stdout.readline(), "listening\n")
            self.hosts.protect("a", "b")
            return bytes.fromhex(listener.communicate(timeout=PROTECT_AGAIN_SECONDS)[0])
        finally:
            listener.kill()
            listener.wait()

    def test_many_silent_connections_do_not_stop_it(self):
        self.assert_flood_survived()


if __name__ == "__main__":
    unittest.main()
