"""The checks from outside, on captures made here byte by byte."""

import struct
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from labkit import output_commit, pcap  # noqa: E402

GUEST, CLIENT = "10.78.0.10", "10.78.0.100"


def address(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


def ipv4(protocol: int, source: str, destination: str, segment: bytes) -> bytes:
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 0, 0, 64, protocol, 0,
                         address(source), address(destination))
    return b"\0" * 12 + struct.pack("!H", pcap.IPV4) + header + segment


def beacon(counter: int) -> bytes:
    payload = str(counter).encode()
    return ipv4(pcap.UDP, GUEST, CLIENT,
                struct.pack("!HHHH", 4000, output_commit.BEACON_PORT, 8 + len(payload), 0)
                + payload)


def tcp(sequence: int, payload: bytes = b"", acknowledgement: int = 0, flags: int = pcap.ACK,
        port: int = 40000) -> bytes:
    return ipv4(pcap.TCP, GUEST, CLIENT,
                struct.pack("!HHIIBBHHH", 5432, port, sequence % 2**32, acknowledgement % 2**32,
                            5 << 4, flags, 1000, 0, 0) + payload)


def capture(frames: list[bytes], torn: int = 0, order: str = "<") -> list[pcap.Packet]:
    """Frame n at n milliseconds."""
    data = struct.pack(order + "IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, pcap.ETHERNET)
    for index, frame in enumerate(frames):
        data += struct.pack(order + "IIII", 0, index * 1000, len(frame), len(frame)) + frame
    with tempfile.NamedTemporaryFile() as file:
        file.write(data[:len(data) - torn])
        file.flush()
        return list(pcap.read(Path(file.name)))


class PcapTest(unittest.TestCase):
    def test_a_tcp_segment_is_read_whole(self):
        packet, = capture([tcp(5, b"hello", 9)])
        self.assertEqual((packet.source, packet.source_port, packet.destination_port),
                         (GUEST, 5432, 40000))
        self.assertEqual((packet.sequence, packet.acknowledgement, packet.payload),
                         (5, 9, b"hello"))

    def test_both_byte_orders(self):
        self.assertEqual(capture([beacon(3)], order=">")[0].payload, b"3")

    def test_a_torn_last_record_is_left_out(self):
        self.assertEqual(len(capture([beacon(1), beacon(2)], torn=3)), 1)

    def test_padding_is_not_payload(self):
        self.assertEqual(capture([tcp(5, b"hi") + b"\0" * 10])[0].payload, b"hi")

    def test_another_file_is_refused(self):
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"not a capture, but long enough for one")
            file.flush()
            with self.assertRaises(pcap.PcapError):
                list(pcap.read(Path(file.name)))


class BeaconTest(unittest.TestCase):
    def check(self, counters: list[int], kill_after: int):
        packets = capture([beacon(counter) for counter in counters])
        return output_commit.check_beacons(output_commit.beacons(packets),
                                           kill_ns=kill_after * 1_000_000 - 1)

    def test_growing_counters_hold(self):
        self.assertTrue(self.check([1, 2, 3, 4, 5], 3).good)

    def test_values_that_nobody_saw_may_be_missing(self):
        self.assertTrue(self.check([1, 2, 3, 9, 10], 3).good)

    def test_a_value_that_comes_again_was_let_go_too_early(self):
        finding = self.check([1, 2, 3, 3, 4], 3)
        self.assertFalse(finding.good)
        self.assertIn("beacon 3 came", finding.violations[0])

    def test_every_value_below_the_highest_is_reported(self):
        self.assertEqual(len(self.check([1, 2, 3, 4, 3, 4, 5], 4).violations), 2)

    def test_silence_after_the_kill_proves_nothing(self):
        self.assertFalse(self.check([1, 2, 3], 3).good)

    def test_counters_in_binary(self):
        self.assertEqual(output_commit.beacon_counter(struct.pack("!Q", 77)), 77)


class StreamTest(unittest.TestCase):
    def check(self, frames: list[bytes]):
        return output_commit.check_streams(capture(frames), GUEST)

    def test_the_same_bytes_again_are_a_retransmission(self):
        self.assertTrue(self.check([tcp(100, b"abcd"), tcp(104, b"ef"), tcp(100, b"abcdef")]).good)

    def test_other_bytes_at_the_same_place_are_not(self):
        finding = self.check([tcp(100, b"abcd"), tcp(102, b"cX")])
        self.assertIn("byte 3", finding.violations[0])

    def test_across_the_end_of_the_sequence_numbers(self):
        finding = self.check([tcp(2**32 - 2, b"abcd"), tcp(2, b"ef"), tcp(0, b"cd")])
        self.assertTrue(finding.good, finding.violations)
        self.assertFalse(self.check([tcp(2**32 - 2, b"abcd"), tcp(0, b"cX")]).good)

    def test_an_acknowledgement_that_goes_back_forgets_input(self):
        finding = self.check([tcp(1, acknowledgement=500), tcp(1, acknowledgement=400)])
        self.assertIn("back 100 bytes", finding.violations[0])

    def test_a_port_used_again_is_a_new_stream(self):
        finding = self.check([tcp(1, flags=pcap.SYN | pcap.ACK), tcp(2, b"abc"),
                              tcp(900, flags=pcap.SYN | pcap.ACK), tcp(901, b"xyz")])
        self.assertTrue(finding.good, finding.violations)

    def test_a_syn_sent_again_is_the_same_stream(self):
        syn = tcp(1, flags=pcap.SYN | pcap.ACK)
        self.assertFalse(self.check([syn, tcp(2, b"abc"), syn, tcp(2, b"abX")]).good)

    def test_a_hole_in_the_capture_is_no_violation(self):
        self.assertTrue(self.check([tcp(100, b"abcd"), tcp(200, b"x"), tcp(150, b"y")]).good)


class ResetTest(unittest.TestCase):
    def test_a_reset_is_seen(self):
        packets = capture([tcp(1), tcp(2, flags=pcap.RST)])
        self.assertFalse(output_commit.check_no_reset(packets, GUEST).good)

    def test_another_connections_reset_is_not_ours(self):
        packets = capture([tcp(1), tcp(2, flags=pcap.RST, port=7)])
        self.assertTrue(output_commit.check_no_reset(packets, GUEST, {40000}).good)


if __name__ == "__main__":
    unittest.main()
