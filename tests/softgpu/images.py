"""Code images made by hand: cubins without code, fat binaries, and what lies about its length."""

import struct

FATBIN_MAGIC = 0xBA55ED50
WRAPPER_MAGIC = 0x466243B1


def cubin(*kernels: bytes) -> bytes:
    """The smallest ELF with a symbol for each kernel: no code in it."""
    names = b"\0.shstrtab\0.strtab\0.symtab\0"
    strings, symbols = b"\0", bytes(24)
    texts = []
    for number, kernel in enumerate(kernels):
        symbols += struct.pack("<IBBHQQ", len(strings), 0x12, 0x10, 4 + number, 0, 0)
        strings += kernel + b"\0"
        texts.append(len(names))
        names += b".text." + kernel + b"\0"
    at = 64
    offsets = []
    for part in (names, strings, symbols):
        offsets.append(at)
        at += len(part)
    at += -at % 8

    def section(name: int, kind: int, offset: int, size: int, link: int = 0, entry: int = 0):
        return struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset, size, link, 1, 8, entry)

    sections = section(0, 0, 0, 0)
    sections += section(1, 3, offsets[0], len(names))
    sections += section(11, 3, offsets[1], len(strings))
    sections += section(19, 2, offsets[2], len(symbols), 2, 24)
    for name in texts:
        sections += section(name, 1, at, 0)
    identity = b"\x7fELF\x02\x01\x01\x41\x08" + bytes(7)
    header = identity + struct.pack("<HHIQQQIHHHHHH", 2, 190, 1, 0, 0, at, 0x06005A04, 64, 56, 0,
                                    64, 4 + len(texts), 1)  # fmt: skip
    body = names + strings + symbols
    return header + body + bytes(at - 64 - len(body)) + sections


def fatbin(content: bytes, *, kind: int = 2, architecture: int = 90) -> bytes:
    """A fat binary with one uncompressed entry: kind 1 is PTX, 2 a cubin."""
    padded = content + bytes(-len(content) % 8)
    entry = struct.pack("<HHIQIIHHIIIQQQ", kind, 0x0101, 64, len(padded), 0, 0, 0, 8, architecture,
                        64, 0, 0x11, 0, 0)  # fmt: skip
    return struct.pack("<IHHQ", FATBIN_MAGIC, 1, 16, len(entry) + len(padded)) + entry + padded
