"""Frames of the replication protocol, built by hand: what an attacker or a broken peer would send.

    0 magic "USDY" | 4 version | 5 type | 6 0 | 8 payload bytes | 12 0 | 16 session | 24 sequence
    32 epoch | 40 checksum; then the payload. Numbers are little-endian.

The checksum here is always wrong: nothing that needs a right one is made by this file.
"""

import random
import struct

MAGIC = 0x59445355
MAGIC_BYTES = b"USDY"
HANDSHAKE = 0xE0  # kind of a chunk: 24 bits of length, 8 of kind
VERSION = 1
HELLO, PAGES, COMMIT = 1, 4, 8
HEADER = struct.Struct("<IBBHIIQQQQ")


def header(type_: int = HELLO, payload_bytes: int = 0, version: int = VERSION, magic: int = MAGIC,
           session: int = 0, sequence: int = 0, epoch: int = 0, checksum: int = 0xBAD) -> bytes:
    return HEADER.pack(magic, version, type_, 0, payload_bytes, 0, session, sequence, epoch,
                       checksum)


def attacks(seed: int) -> dict[str, bytes]:
    """By name: what is sent on a new connection before our end closes for writing."""
    noise = random.Random(seed)
    return {
        "rubbish": noise.randbytes(4096),
        "an HTTP request": b"GET / HTTP/1.1\r\nHost: b\r\n\r\n" + bytes(64),
        "half a header": header()[:20],
        "a truncated hello": header(payload_bytes=500) + noise.randbytes(100),
        "a wrong version": header(version=99, payload_bytes=16) + noise.randbytes(16),
        "an oversized length": header(payload_bytes=0xFFFFFFF0) + noise.randbytes(256),
        "an unknown type": header(type_=200, payload_bytes=8) + noise.randbytes(8),
        "a wrong checksum": header(payload_bytes=64) + noise.randbytes(64),
        "pages without a hello": (header(type_=PAGES, payload_bytes=64, session=1, sequence=1)
                                  + noise.randbytes(64)),
        "a commit from nowhere": header(type_=COMMIT, session=1, epoch=2**63),
        "nothing": b"",
    }


def chunk(data: bytes, length: int | None = None) -> bytes:
    """Of a handshake; `length` is what it claims to have."""
    return struct.pack("<I", (len(data) if length is None else length) | HANDSHAKE << 24) + data


def attacks_on_handshake(seed: int) -> dict[str, bytes]:
    """The same, for a host that asks for a key."""
    noise = random.Random(seed)
    # A TLS 1.3 hello as any browser says it: no pre-shared key.
    extensions = (bytes.fromhex("002b0003020304 000a00040002001d 000d000400020804 003300260024001d0020")
                  + noise.randbytes(32))
    hello = (b"\x03\x03" + noise.randbytes(32) + b"\x00" + b"\x00\x02\x13\x02" + b"\x01\x00"
             + struct.pack(">H", len(extensions)) + extensions)
    hello = b"\x01" + len(hello).to_bytes(3, "big") + hello
    hello = b"\x16\x03\x01" + struct.pack(">H", len(hello)) + hello
    return {
        "a forged hello": header(payload_bytes=500) + noise.randbytes(500),
        "a chunk of rubbish": chunk(noise.randbytes(300)),
        "a chunk that is too long": chunk(noise.randbytes(300), 2**24 - 1),
        "a chunk that is cut off": chunk(hello[:20], len(hello)),
        "a TLS hello without a key": chunk(hello),
    }


# Runs on another host: argv address, port, hex, seconds. Prints how the connection ended.
SENDER = """
import socket, sys, time
address, port = sys.argv[1], int(sys.argv[2])
data, patience = bytes.fromhex(sys.argv[3]), float(sys.argv[4])
peer = socket.create_connection((address, port), 5)
peer.settimeout(patience)
begin = time.monotonic()
try:
    peer.sendall(data)
    if data:
        peer.shutdown(socket.SHUT_WR)
    while peer.recv(65536):
        pass
    how = "closed"
except TimeoutError:
    how = "open"
except OSError as error:
    how = "reset"
print(how, round(time.monotonic() - begin, 3))
"""
