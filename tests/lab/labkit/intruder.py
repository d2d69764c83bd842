"""A stranger on the Ethernet segment of the replication network, who hears and says what he likes.

    to 6 | from 6 | 88B5 | length 2 | packet        replication/dpdk_port.hpp
    "USDG" | 1 | kind | flags | 0 | connection 8 | number 8 | sequence 8 | acked 8 | newest 8
    limit 8 | delay 4 | payload bytes 4 | payload | tag 16        replication/PROTOCOL.md

He has no key: his packets bear a good checksum where packets in the clear bear one, noise elsewhere.

Runs as a process in the network namespace of `Network.plug_in`:

    python3 -m labkit.intruder record FILE COUNT            the next COUNT frames of others
    python3 -m labkit.intruder attack NAME FILE SECONDS SEED CLUSTER
"""

import ctypes
import os
import random
import socket
import struct
import sys
import time
from pathlib import Path

DEVICE = "eth0"
ETHER_TYPE = 0x88B5
ETHERNET = struct.Struct(">6s6sHH")
HEADER = struct.Struct("<4sBBBBQQQQQQII")
MAGIC, VERSION = b"USDG", 1
DATA, ACK, PROBE, CLOSE, ASK, HERE = 1, 2, 3, 4, 5, 6
SEALED, ANSWERING, FIRST, LAST, END = 1, 2, 4, 8, 16
TAG_BYTES = 16
EVERYONE = b"\xff" * 6
LARGEST = 60_000
SMALL = 2000          # bytes: such frames are sent as fast as they go ...
LARGE_PAUSE = 0.002   # ... and larger ones with this between them, for the memory bus is not attacked
LARGE_ANSWERS_MS = 5  # how long an attack that listens waits for a frame


class Checksum:
    """XXH3-128 in its canonical form, from the library that the daemon uses."""

    class Hash(ctypes.Structure):
        _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]

    def __init__(self):
        self.function = ctypes.CDLL("libxxhash.so.0").XXH3_128bits
        self.function.restype = self.Hash
        self.function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]

    def of(self, data: bytes) -> bytes:
        result = self.function(data, len(data))
        return struct.pack(">QQ", result.high, result.low)


class Frame:
    """One of the segment, as it was heard."""

    def __init__(self, raw: bytes):
        self.raw = raw
        self.to, self.source, _, self.size = ETHERNET.unpack_from(raw)
        self.packet = raw[ETHERNET.size:ETHERNET.size + self.size]
        whole = len(self.packet) >= HEADER.size + TAG_BYTES and self.packet[:4] == MAGIC
        self.kind, self.flags = (self.packet[5], self.packet[6]) if whole else (0, 0)
        (self.connection, self.number, self.sequence, self.acked, self.newest,
         self.limit) = HEADER.unpack_from(self.packet)[5:11] if whole else (0,) * 6


def ethernet(to: bytes, source: bytes, packet: bytes, size: int | None = None) -> bytes:
    return ETHERNET.pack(to, source, ETHER_TYPE, len(packet) if size is None else size) + packet


class Intruder:
    def __init__(self, seed: int):
        self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHER_TYPE))
        self.wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        self.wire.bind((DEVICE, ETHER_TYPE))
        # SOL_PACKET, PACKET_ADD_MEMBERSHIP, {index, PACKET_MR_PROMISC}
        self.wire.setsockopt(263, 1, struct.pack("IHH8s", socket.if_nametoindex(DEVICE), 1, 0, b""))
        self.random = random.Random(seed)
        self.checksum = Checksum()
        self.sent = 0

    def hear(self, seconds: float) -> Frame | None:
        """The next frame of somebody else."""
        self.wire.settimeout(seconds)
        try:
            raw, where = self.wire.recvfrom(1 << 16)
        except TimeoutError:
            return None
        ours = where[2] == socket.PACKET_OUTGOING or len(raw) < ETHERNET.size
        return None if ours else Frame(raw)

    def say(self, raw: bytes) -> None:
        try:
            self.wire.send(raw)
            self.sent += 1
        except OSError:  # the queue is full: the next one
            pass
        if len(raw) > SMALL:
            time.sleep(LARGE_PAUSE)

    def packet(self, kind: int, flags: int, connection: int, number: int, payload: bytes = b"",
               sequence: int = 0, acked: int = 0, newest: int = 0, limit: int = 0,
               genuine: bool = True) -> bytes:
        body = HEADER.pack(MAGIC, VERSION, kind, flags, 0, connection, max(number, 1), sequence, acked,
                           newest, limit, 0, len(payload)) + payload
        return body + (self.checksum.of(body) if genuine else self.random.randbytes(TAG_BYTES))

    def address(self) -> bytes:
        return b"\x02" + self.random.randbytes(5)

    def number64(self) -> int:
        return self.random.getrandbits(64)


def record(path: Path, count: int) -> None:
    """Says `listening` first. Ends with the count, or with its process; the file is whole then."""
    intruder = Intruder(0)
    print("listening", flush=True)
    with open(path, "wb") as file:
        for _ in range(count):
            frame = None
            while frame is None:
                frame = intruder.hear(1)
            file.write(struct.pack("<I", len(frame.raw)) + frame.raw)
            file.flush()


def read_record(path: Path) -> list[Frame]:
    data, at, frames = path.read_bytes(), 0, []
    while at + 4 <= len(data):
        size = struct.unpack_from("<I", data, at)[0]
        frames.append(Frame(data[at + 4:at + 4 + size]))
        at += 4 + size
    return frames


# Attacks: each is called again and again until its time is over, with all frames that were recorded.

def replay(intruder: Intruder, frames: list[Frame]) -> None:
    """Everything again, in order."""
    for frame in frames:
        intruder.say(frame.raw)


def corrupt(intruder: Intruder, frames: list[Frame]) -> None:
    """One bit of a packet is another."""
    frame = intruder.random.choice(frames)
    raw = bytearray(frame.raw)
    raw[intruder.random.randrange(ETHERNET.size, len(raw))] ^= 1 << intruder.random.randrange(8)
    intruder.say(bytes(raw))


def truncate(intruder: Intruder, frames: list[Frame]) -> None:
    """The end is missing, and the length says so, or not."""
    frame = intruder.random.choice(frames)
    cut = frame.packet[:intruder.random.randrange(len(frame.packet))]
    size = intruder.random.choice([len(cut), frame.size, 0, 0xFFFF])
    intruder.say(ethernet(frame.to, frame.source, cut, size))


def oversize(intruder: Intruder, frames: list[Frame]) -> None:
    """More bytes than the length says, more than a packet may have, or a payload that claims them."""
    frame = intruder.random.choice(frames)
    more = frame.packet + intruder.random.randbytes(intruder.random.choice([1, 1000, LARGEST]))
    packet = bytearray(more[:LARGEST])
    size = intruder.random.choice([frame.size, len(packet), 0xFFFF])
    if intruder.random.random() < 0.5:
        packet[60:64] = struct.pack("<I", intruder.random.choice([len(packet), 0xFFFFFFFF, 1 << 20]))
    intruder.say(ethernet(frame.to, frame.source, bytes(packet), size))


def forge(intruder: Intruder, _: list[Frame]) -> None:
    """For a connection that lives, with numbers like its own, in the name of either end."""
    frame = intruder.hear(LARGE_ANSWERS_MS / 1000)
    if frame is None or frame.kind == 0:
        return
    roll = intruder.random
    for _ in range(20):
        kind = roll.choice([DATA, ACK, PROBE, CLOSE])
        sealed = roll.choice([SEALED, 0])
        flags = sealed | (frame.flags & ANSWERING) | (roll.choice([FIRST | LAST, END, 0])
                                                      if kind == DATA else 0)
        payload = b"" if kind in (PROBE, CLOSE) or flags & END else roll.randbytes(roll.randrange(1, 128))
        packet = intruder.packet(
            kind, flags, frame.connection, frame.number + roll.randrange(1, 2000), payload,
            sequence=frame.sequence + roll.randrange(3) if kind == DATA else 0,
            acked=frame.acked + roll.randrange(1000), newest=frame.newest + roll.randrange(1000),
            limit=frame.limit + roll.randrange(1 << 20), genuine=not sealed)
        intruder.say(ethernet(frame.to, frame.source, packet))


def strangers(intruder: Intruder, frames: list[Frame]) -> None:
    """Connections that nobody has, of either end and of others."""
    roll, frame = intruder.random, intruder.random.choice(frames)
    source = roll.choice([frame.source, intruder.address()])
    kind, sealed = roll.choice([DATA, ACK, PROBE, CLOSE]), roll.choice([SEALED, 0])
    payload = roll.randbytes(40) if kind == DATA else b""
    intruder.say(ethernet(frame.to, source, intruder.packet(
        kind, sealed | roll.choice([0, ANSWERING]), intruder.number64(), roll.getrandbits(40), payload,
        acked=roll.randrange(100), newest=roll.randrange(100), limit=200)))


def greetings(intruder: Intruder, frames: list[Frame]) -> None:
    """New connections without end, from everywhere, with the first words of a true one, or with noise."""
    roll = intruder.random
    first = next((frame for frame in frames if frame.kind == DATA and not frame.flags & SEALED), None)
    words = first.packet[HEADER.size:-TAG_BYTES] if first and roll.random() < 0.5 else roll.randbytes(300)
    frame = roll.choice(frames)
    intruder.say(ethernet(roll.choice([frame.to, frame.source]), intruder.address(), intruder.packet(
        DATA, FIRST | LAST, intruder.number64(), 1, words, limit=8)))


def answers(intruder: Intruder, frames: list[Frame]) -> None:
    """Says `here` to whoever asks, before the one who was asked, and to those who do not ask."""
    frame = intruder.hear(LARGE_ANSWERS_MS / 1000) or intruder.random.choice(frames)
    connection = frame.connection if frame.kind == ASK else intruder.number64()
    for payload in (b"", intruder.random.randbytes(16)):
        intruder.say(ethernet(frame.source, intruder.address(), intruder.packet(
            HERE, ANSWERING, connection, 1, payload)))


def questions(intruder: Intruder, _: list[Frame]) -> None:
    name = intruder.random.choice([b"a", b"b", b"nobody", b""])
    intruder.say(ethernet(EVERYONE, intruder.address(), intruder.packet(
        ASK, 0, intruder.number64(), 1, CLUSTER + b"\0" + name)))


def noise(intruder: Intruder, frames: list[Frame]) -> None:
    """Rubbish of every length."""
    frame = intruder.random.choice(frames)
    intruder.say(ethernet(intruder.random.choice([frame.to, EVERYONE]), frame.source,
                          intruder.random.randbytes(intruder.random.choice([0, 46, 80, 1400, LARGEST]))))


def flood(intruder: Intruder, frames: list[Frame]) -> None:
    """As many small frames as the wire takes: of this session and of none."""
    small = [frame.raw for frame in frames if len(frame.raw) < SMALL]
    for _ in range(10):
        greetings(intruder, frames)
        questions(intruder, frames)
    for raw in small[:200]:
        intruder.say(raw)


ATTACKS = {attack.__name__: attack for attack in (
    replay, corrupt, truncate, oversize, forge, strangers, greetings, answers, questions, noise, flood)}
CLUSTER = b""


def attack(name: str, path: Path, seconds: float, seed: int, cluster: str) -> None:
    """Prints how much was sent."""
    global CLUSTER
    CLUSTER = cluster.encode()
    intruder, frames = Intruder(seed), read_record(path)
    print("attacking", flush=True)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ATTACKS[name](intruder, frames)
    print(intruder.sent, flush=True)


def main(words: list[str]) -> int:
    if words[0] == "record":
        record(Path(words[1]), int(words[2]))
    else:
        attack(words[1], Path(words[2]), float(words[3]), int(words[4]), words[5])
    return 0


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main(sys.argv[1:]))
