"""Numbers and byte strings as docs/format.md writes them. Every read is checked: hostile bytes give a FormatError."""


class FormatError(Exception):
    """The bytes of an object are not what docs/format.md allows; the message names the object."""


class Cursor:
    """Reads from the front of `data`; `name` says in errors what is being read."""

    def __init__(self, data, name):
        self.data, self.name, self.at = bytes(data), name, 0

    def fail(self, message):
        raise FormatError(f"{self.name}: {message} (at byte {self.at} of {len(self.data)})")

    def left(self):
        return len(self.data) - self.at

    def take(self, length):
        if length < 0 or length > self.left():
            self.fail(f"{length} bytes wanted, {self.left()} are left")
        piece = self.data[self.at:self.at + length]
        self.at += length
        return piece

    def fixed(self, length):
        return int.from_bytes(self.take(length), "little")

    def u8(self):
        return self.fixed(1)

    def u16(self):
        return self.fixed(2)

    def u24(self):
        return self.fixed(3)

    def u32(self):
        return self.fixed(4)

    def u64(self):
        return self.fixed(8)

    def i64(self):
        return int.from_bytes(self.take(8), "little", signed=True)

    def varint(self):
        value = 0
        for n in range(10):
            byte = self.u8()
            value |= (byte & 0x7F) << (7 * n)
            if byte < 0x80:
                if value >= 1 << 64:
                    self.fail("a varint does not fit 64 bits")
                return value
        self.fail("a varint has more than 10 bytes")

    def zigzag(self):
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def text(self):
        """Bytes behind their length."""
        return self.take(self.varint())

    def count(self, least):
        """A number of items that take at least `least` bytes each: a larger one than the rest can hold is refused."""
        number = self.varint()
        if number * least > self.left():
            self.fail(f"{number} items cannot stand in {self.left()} bytes")
        return number

    def part(self, what):
        """The next length and as many bytes, as a cursor of their own."""
        return Cursor(self.text(), f"{self.name}, {what}")

    def end(self):
        if self.left():
            self.fail(f"{self.left()} bytes too many")
