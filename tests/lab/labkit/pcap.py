"""A minimal reader of pcap files: Ethernet, ARP, IPv4, UDP and TCP, standard library only.

`read(path)` yields Packets in the order of capture. What is not IPv4 or is a fragment comes with
`protocol` None. Times are nanoseconds of CLOCK_REALTIME.
"""

import socket
import struct
from dataclasses import dataclass
from pathlib import Path

ETHERNET, LINUX_SLL2 = 1, 276
IPV4, RARP, ARP = 0x0800, 0x8035, 0x0806
TCP, UDP = 6, 17
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
MAGICS = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}  # nanoseconds of one unit of the fraction


class PcapError(Exception):
    pass


@dataclass(slots=True)
class Packet:
    time_ns: int
    ethertype: int
    source: str = ""
    destination: str = ""
    protocol: int | None = None
    source_port: int = 0
    destination_port: int = 0
    flags: int = 0
    sequence: int = 0
    acknowledgement: int = 0
    payload: bytes = b""
    cut: bool = False  # the capture holds only the beginning of the payload

    @property
    def flow(self) -> tuple:
        return (self.source, self.source_port, self.destination, self.destination_port)


def records(data: bytes):
    """(time_ns, link type, bytes, whole) of each record; a torn last record is left out."""
    if len(data) < 24:
        raise PcapError("no pcap file: shorter than a header")
    for order in "<>":
        magic, = struct.unpack_from(order + "I", data)
        if magic in MAGICS:
            break
    else:
        raise PcapError(f"no pcap file: magic {data[:4].hex()}")
    unit = MAGICS[magic]
    link, = struct.unpack_from(order + "I", data, 20)
    header = struct.Struct(order + "IIII")
    at = 24
    while at + header.size <= len(data):
        seconds, fraction, held, length = header.unpack_from(data, at)
        at += header.size
        if at + held > len(data):
            return
        yield seconds * 10**9 + fraction * unit, link & 0xFFFF, data[at:at + held], held == length
        at += held


def read(path: Path):
    for time_ns, link, frame, _ in records(Path(path).read_bytes()):
        if link == ETHERNET and len(frame) >= 14:
            ethertype, = struct.unpack_from("!H", frame, 12)
            yield decode(time_ns, ethertype, frame[14:])
        elif link == LINUX_SLL2 and len(frame) >= 20:
            ethertype, = struct.unpack_from("!H", frame)
            yield decode(time_ns, ethertype, frame[20:])
        elif link not in (ETHERNET, LINUX_SLL2):
            raise PcapError(f"link type {link} is neither Ethernet nor SLL2")


def decode(time_ns: int, ethertype: int, body: bytes) -> Packet:
    packet = Packet(time_ns, ethertype)
    if ethertype != IPV4 or len(body) < 20:
        return packet
    header_bytes = (body[0] & 15) * 4
    total, = struct.unpack_from("!H", body, 2)
    fragment, = struct.unpack_from("!H", body, 6)
    packet.source, packet.destination = socket.inet_ntoa(body[12:16]), socket.inet_ntoa(body[16:20])
    if fragment & 0x3FFF:
        return packet
    # total is 0 for segments that the sender left to offloading
    segment = body[header_bytes:total] if total >= header_bytes else body[header_bytes:]
    expected = total - header_bytes if total else len(segment)
    if body[9] == UDP and len(segment) >= 8:
        packet.protocol = UDP
        packet.source_port, packet.destination_port = struct.unpack_from("!HH", segment)
        packet.payload = segment[8:]
    elif body[9] == TCP and len(segment) >= 20:
        packet.protocol = TCP
        (packet.source_port, packet.destination_port, packet.sequence,
         packet.acknowledgement) = struct.unpack_from("!HHII", segment)
        packet.flags = segment[13]
        packet.payload = segment[(segment[12] >> 4) * 4:]
    packet.cut = len(segment) < expected
    return packet
