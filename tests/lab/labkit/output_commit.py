"""Output commit, seen from outside: a capture of the guest's network is all the evidence.

What can be proved. A promoted guest goes on from the last epoch that the backup holds. If every
packet on the wire belongs to such an epoch, the promoted guest has already sent everything that was
seen, so:

- a counter that the guest keeps in RAM and sends as a beacon goes on *above* every value seen: a
  value that comes again, or a lower one, was sent by an epoch that no longer exists;
- a byte of a TCP stream that is sent again is the same byte;
- an acknowledgement number never goes back: the guest does not forget input it has acknowledged.

Values may be missing: packets held when the host died were never seen by anyone, and the network
may lose packets. The opposite fault, output let go one epoch early, repeats a handful of beacons at
each failover (25 ms epochs, a beacon every 5 ms).
"""

import struct
from dataclasses import dataclass, field

from . import pcap

BEACON_PORT = 9999
SEQUENCES = 1 << 32
WINDOW = 1 << 30  # no TCP window is larger: a sequence number further off is another connection's


@dataclass
class Finding:
    """`violations` is empty if the invariant held; `seen` says how much evidence there was."""

    seen: int = 0
    violations: list[str] = field(default_factory=list)
    detail: str = ""

    @property
    def good(self) -> bool:
        return self.seen > 0 and not self.violations


def beacon_counter(payload: bytes) -> int | None:
    """The counter at the payload's beginning: decimal digits, or 8 bytes big-endian."""
    digits = bytearray()
    for byte in payload[:20]:
        if not 0x30 <= byte <= 0x39:
            break
        digits.append(byte)
    if digits:
        return int(digits)
    return struct.unpack_from("!Q", payload)[0] if len(payload) >= 8 else None


def beacons(packets) -> list[tuple[int, int]]:
    """(time_ns, counter) of each beacon on the wire."""
    found = []
    for packet in packets:
        if packet.protocol == pcap.UDP and packet.destination_port == BEACON_PORT:
            counter = beacon_counter(packet.payload)
            if counter is not None:
                found.append((packet.time_ns, counter))
    return found


def check_beacons(seen: list[tuple[int, int]], kill_ns: int | None = None) -> Finding:
    """The counters on the wire only ever grow. With `kill_ns`, some must be on either side."""
    finding = Finding(len(seen))
    highest = -1
    for time_ns, counter in seen:
        if counter <= highest:
            finding.violations.append(
                f"beacon {counter} came at {time_ns / 1e9:.6f} after {highest} had been released")
        highest = max(highest, counter)
    if kill_ns is None:
        finding.detail = f"{len(seen)} beacons, none twice"
        return finding
    before = [counter for time_ns, counter in seen if time_ns <= kill_ns]
    after = [counter for time_ns, counter in seen if time_ns > kill_ns]
    if not before or not after:
        finding.violations.append(f"no beacon {'before' if not before else 'after'} the kill")
        return finding
    # The longest silence is where the new host took over from the old one.
    rest = [max(item for item in seen if item[0] <= kill_ns)]
    rest += [item for item in seen if item[0] > kill_ns]
    old, new = max(zip(rest, rest[1:]), key=lambda pair: pair[1][0] - pair[0][0])
    finding.detail = (f"{len(seen)} beacons, none twice; the old host's last was {old[1]}, the new"
                      f" one's first {new[1]}, {(new[0] - old[0]) / 1e6:.0f} ms later")
    return finding


class Stream:
    """One direction of one TCP connection: its bytes, and how far it acknowledged."""

    def __init__(self, packet: pcap.Packet):
        self.syn_ = packet.sequence if packet.flags & pcap.SYN else None
        # A SYN takes one number.
        self.base_ = (packet.sequence + (1 if packet.flags & pcap.SYN else 0)) % SEQUENCES
        self.bytes_ = bytearray()
        self.present_ = bytearray()
        self.acknowledged_: int | None = None
        self.violation: str | None = None

    def offset(self, sequence: int) -> int:
        """Of a sequence number near the stream's end, counted from its first byte."""
        expected = (self.base_ + len(self.bytes_)) % SEQUENCES
        distance = (sequence - expected + SEQUENCES // 2) % SEQUENCES - SEQUENCES // 2
        return len(self.bytes_) + distance

    def data(self, packet: pcap.Packet) -> int:
        """Returns how many bytes came again; sets `violation` if one of them differs."""
        start, payload = self.offset(packet.sequence), packet.payload
        if start < 0:  # from before the capture
            payload, start = payload[-start:], 0
        if start - len(self.bytes_) > WINDOW or not payload:
            return 0
        end = start + len(payload)
        if end > len(self.bytes_):
            grow = end - len(self.bytes_)
            self.bytes_.extend(bytes(grow))
            self.present_.extend(bytes(grow))
        again = 0
        if any(self.present_[start:end]):
            for index, byte in enumerate(payload, start):
                if self.present_[index]:
                    again += 1
                    if self.bytes_[index] != byte and not self.violation:
                        self.violation = (f"byte {index} was {self.bytes_[index]:#x},"
                                          f" came as {byte:#x}")
        self.bytes_[start:end] = payload
        self.present_[start:end] = b"\1" * len(payload)
        return again

    def acknowledgement(self, number: int) -> int:
        """How far the number goes back; 0 is right."""
        if self.acknowledged_ is None:
            self.acknowledged_ = number
        ahead = (number - self.acknowledged_ + SEQUENCES // 2) % SEQUENCES - SEQUENCES // 2
        if ahead >= 0:
            self.acknowledged_ = number
            return 0
        return -ahead


def check_streams(packets, guest: str) -> Finding:
    """No byte that the guest sends again differs; no acknowledgement of the guest goes back."""
    finding = Finding()
    streams: dict[tuple, Stream] = {}
    again = 0
    for packet in packets:
        if packet.protocol != pcap.TCP or packet.source != guest or packet.flags & pcap.RST:
            continue
        stream = streams.get(packet.flow)
        # A SYN sent again opens nothing new; one with another number does (a port used again).
        if stream is None or packet.flags & pcap.SYN and stream.syn_ != packet.sequence:
            stream = streams[packet.flow] = Stream(packet)
        finding.seen += 1
        again += stream.data(packet) if packet.payload and not packet.cut else 0
        back = stream.acknowledgement(packet.acknowledgement) if packet.flags & pcap.ACK else 0
        name = f"{packet.source}:{packet.source_port} to :{packet.destination_port}"
        if stream.violation:
            finding.violations.append(f"{name}: {stream.violation}")
            stream.violation = None
        if back:
            finding.violations.append(f"{name}: the acknowledgement went back {back} bytes at"
                                      f" {packet.time_ns / 1e9:.6f}")
    finding.detail = (f"{finding.seen} segments of {len(streams)} streams, {again} bytes sent"
                      " again, all the same")
    return finding


def check_no_reset(packets, guest: str, ports: set[int] | None = None) -> Finding:
    """No RST between the guest and these client ports (None: all)."""
    finding = Finding()
    for packet in packets:
        if packet.protocol != pcap.TCP or guest not in (packet.source, packet.destination):
            continue
        port = packet.destination_port if packet.source == guest else packet.source_port
        if ports is not None and port not in ports:
            continue
        finding.seen += 1
        if packet.flags & pcap.RST:
            finding.violations.append(
                f"{packet.source}:{packet.source_port} reset the connection at"
                f" {packet.time_ns / 1e9:.6f}")
    finding.detail = f"{finding.seen} segments, no reset"
    return finding
