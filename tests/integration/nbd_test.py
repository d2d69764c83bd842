"""The daemon's NBD server against clients that others wrote: libnbd's tools and fio's nbd engine. 6 s."""

import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from lab_case import REPOSITORY

BINARIES = Path(os.environ.get("UNDERSTUDY_BIN", REPOSITORY / "build/release/bin"))
SERVER = BINARIES / "nbd_serve"
MIB = 1 << 20


def skip_reason() -> str:
    missing = [name for name in ("nbdinfo", "nbdcopy", "fio") if not shutil.which(name)]
    return f"missing programs: {' '.join(missing)}; run tests/install" if missing else ""


class NbdTest(unittest.TestCase):
    def setUp(self):
        if reason := skip_reason():
            self.skipTest(reason)
        temporary = tempfile.TemporaryDirectory(prefix="understudy-nbd-")
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name)
        self.images = [self.image("a.img", 64 * MIB), self.image("b.img", 3 * MIB + 512)]
        self.socket = self.directory / "nbd.sock"
        self.server = subprocess.Popen([SERVER, self.socket, *self.images], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop)
        self.assertEqual(self.server.stdout.readline(), "ready\n")

    def stop(self):
        self.server.communicate("", timeout=10)

    def image(self, name: str, size: int) -> Path:
        path = self.directory / name
        path.write_bytes(b"")
        os.truncate(path, size)
        return path

    def uri(self, export: str) -> str:
        return f"nbd+unix:///{export}?socket={self.socket}"

    def run_program(self, *words) -> str:
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_exports_and_what_they_can(self):
        listed = json.loads(self.run_program("nbdinfo", "--json", "--list", self.uri("")))
        self.assertEqual([(one["export-name"], one["export-size"]) for one in listed["exports"]],
                         [("disk0", 64 * MIB), ("disk1", 3 * MIB + 512)])
        for one in listed["exports"]:
            for ability in ("can_flush", "can_fua", "can_trim", "can_zero", "can_multi_conn"):
                self.assertTrue(one[ability], ability)
            self.assertFalse(one["is_read_only"])
            self.assertEqual(one["block_size_maximum"], MIB)

    def test_an_image_that_fails_is_an_error_to_its_client_alone(self):
        """Cut short behind the server's back: reads beyond are errors, and not zeros."""
        os.truncate(self.images[0], MIB)
        failed = subprocess.run(["nbdcopy", self.uri("disk0"), str(self.directory / "copy")],
                                capture_output=True, text=True, timeout=60)
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn("Input/output error", failed.stderr)
        self.run_program("nbdcopy", self.uri("disk1"), self.directory / "other")
        self.assertEqual((self.directory / "other").read_bytes(), self.images[1].read_bytes())

    def test_copies_over_many_connections(self):
        source = self.directory / "source"
        source.write_bytes(random.Random(1).randbytes(5 * MIB) + bytes(30 * MIB)
                           + random.Random(2).randbytes(29 * MIB))
        self.run_program("nbdcopy", "--connections=4", "--flush", source, self.uri("disk0"))
        self.assertEqual(self.images[0].read_bytes(), source.read_bytes())
        back = self.directory / "back"
        self.run_program("nbdcopy", self.uri("disk0"), back)
        self.assertEqual(back.read_bytes(), source.read_bytes())

    def test_fio_verifies_what_it_wrote(self):
        self.run_program("fio", "--name=verify", "--ioengine=nbd", f"--uri={self.uri('disk0')}",
                         "--rw=randrw", "--bs=512-64k", "--iodepth=16", "--size=32M", "--fsync=64",
                         "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0",
                         "--output-format=json")

    def test_rubbish_ends_its_own_connection_only(self):
        noise = random.Random(7)
        for _ in range(50):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(self.socket))
                client.sendall(struct.pack(">I", 3))
                try:
                    client.sendall(noise.randbytes(noise.randrange(1, 2000)))
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(4096):
                        pass
                except OSError:
                    pass  # it was closed on us, as it should be
        self.assertIsNone(self.server.poll())
        self.run_program("nbdinfo", self.uri("disk1"))


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=[sys.argv[0], *sys.argv[1:]])
