# SPDX-License-Identifier: Apache-2.0
"""What lies on busbar's disks, read with Python's standard library alone, from storage/FORMAT.md.

Not made for speed: each function follows its section of the document, so that one can be read with
the other. Raises Damage where bytes are not as the document says.
"""
import math
import struct
from fractions import Fraction

NONE = 2**64 - 1
FLOAT64, INT64, BOOL, STATE = 1, 2, 3, 4


class Damage(Exception):
    pass


def need(condition, why):
    if not condition:
        raise Damage(why)


def make_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = make_table()


def crc32c(data, crc=0):
    """Castagnoli, reflected; continues from the checksum of what came before."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def u16(data, at):
    return struct.unpack_from("<H", data, at)[0]


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def to_i64(word):
    return word - 2**64 if word >> 63 else word


def to_i32(word):
    word &= 2**32 - 1
    return word - 2**32 if word >> 31 else word


def bits_of(number):
    return struct.unpack("<Q", struct.pack("<d", number))[0]


def double_of(word):
    return struct.unpack("<d", struct.pack("<Q", word))[0]


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        need(self.at + count <= len(self.data), "bytes end")
        self.at += count
        return self.data[self.at - count:self.at]

    def fixed(self, count):
        return int.from_bytes(self.take(count), "little")

    def varint(self):
        number = shift = 0
        while True:
            byte = self.fixed(1)
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number & (2**64 - 1)
            shift += 7
            need(shift < 70, "varint")

    def signed(self):
        number = self.varint()
        return number >> 1 ^ -(number & 1)

    def rest(self):
        return self.take(len(self.data) - self.at)


def unpack_bits(data, count, width):
    stream = int.from_bytes(data, "little")
    return [stream >> i * width & (1 << width) - 1 for i in range(count)]


# ---- packed integers ----
def unpack_lanes(data, width):
    """256 integers as they lie: element row x 8 + lane."""
    lanes = []
    for lane in range(8):
        words = b"".join(data[(w * 8 + lane) * 4:(w * 8 + lane) * 4 + 4] for w in range(width))
        lanes.append(unpack_bits(words, 32, width))
    return [lanes[i % 8][i // 8] for i in range(256)]


WEIGHTS = (0, 1, 2, 3, 4, 7, 12, 19, 32, 52, 86, 141, 231, 380, 623, 1024)


def read_levels(reader):
    tokens, levels = reader.fixed(1), []
    need(tokens <= 84, "entropy: tokens")
    nibbles = (n for byte in iter(lambda: reader.fixed(1), None) for n in (byte & 15, byte >> 4))
    while len(levels) < tokens:
        level = next(nibbles)
        levels += [level] if level else [0] * (1 + next(nibbles))
    need(len(levels) == tokens and (not levels or levels[-1]), "entropy: levels")
    return levels


def entropy_table(levels):
    """Of each state: token, bits that lead to the next state, what they are added to."""
    weights = [WEIGHTS[level] for level in levels]
    if not weights:
        return [(0, 0, 0)] * 256
    shares = [max(1, w * 256 // sum(weights)) if w else 0 for w in weights]
    shares[weights.index(max(weights))] += max(0, 256 - sum(shares))
    token = 0
    while sum(shares) > 256:
        shares[token] -= shares[token] > 1
        token = (token + 1) % len(shares)
    order = [t for t, share in enumerate(shares) for _ in range(share)]
    tokens = [0] * 256
    for i, t in enumerate(order):
        tokens[i * 163 % 256] = t
    ranks, table = list(shares), []
    for t in tokens:
        bits = 8 - (ranks[t].bit_length() - 1)
        table.append((t, bits, (ranks[t] << bits) - 256))
        ranks[t] += 1
    return table


def read_entropy(data, count):
    reader = Reader(data)
    flags = reader.fixed(1)
    need(flags < 2, "entropy: flags")
    tables = [entropy_table(read_levels(reader)) for _ in range(1 + flags)]
    states = [(0, reader.fixed(1)) for _ in range(4)]  # table, state
    rest = reader.rest()
    stream, used = int.from_bytes(rest, "little"), 0
    each = count // 4
    rows = [lane * each + i for i in range(each) for lane in range(4)] + list(range(each * 4, count))
    numbers = [0] * count
    for place, row in enumerate(rows):
        lane = place % 4 if place < each * 4 else 3
        table, state = states[lane]
        token, lead, to = tables[table][state]
        low = 0 if token < 8 else (token - 8) // 4 + 1
        folded = token if token < 8 else (4 + (token - 8) % 4) << low
        folded += stream & (1 << low) - 1
        stream >>= low
        states[lane] = (flags if token else 0, to + (stream & (1 << lead) - 1))
        stream >>= lead
        used += low + lead
        numbers[row] = folded >> 1 ^ -(folded & 1)
    need(all(state == 0 for _, state in states), "entropy: last states")
    need((used + 7) // 8 == len(rest) and stream == 0, "entropy: bytes left over")
    return numbers


class Questions:
    """Answers to questions from a big-endian fraction."""

    def __init__(self, data):
        self.data, self.at = data, 8
        self.code, self.range = int.from_bytes(data[:8].ljust(8, b"\0"), "big"), 2**64 - 1
        self.chances = {}  # context: chance of yes, times asked

    def _cut(self, cut):
        is_below = self.code < cut
        if is_below:
            self.range = cut
        else:
            self.code, self.range = self.code - cut, self.range - cut
        return is_below

    def _shift(self):
        if self.range < 2**32:
            more = self.data[self.at:self.at + 4].ljust(4, b"\0")
            self.at += 4
            self.code, self.range = self.code << 32 | int.from_bytes(more, "big"), self.range << 32

    def ask(self, *context):
        chance, asked = self.chances.get(context, (2**15, 0))
        answer = self._cut((self.range >> 16) * chance)
        self._shift()
        step = 2**16 // (asked + 2)
        chance += ((2**16 - 1 - chance) * step >> 16) if answer else -(chance * step >> 16)
        self.chances[context] = chance, min(asked + 1, 62)
        return answer

    def bit(self):
        half = self.range >> 1
        self.range = half
        is_set = self.code >= half
        self.code -= half if is_set else 0
        self._shift()
        return is_set


def read_arithmetic(data, count):
    if not data:
        return [0] * count
    fraction = Questions(data)
    gap = near = size = signs = 0
    numbers = []
    for _ in range(count):
        if not fraction.ask("moves", gap, near, min(size, 3)):
            numbers.append(0)
            gap = min(gap + 1, 7)
            continue
        is_negative = fraction.ask("sign", signs)
        top = 0
        while top < 30 and fraction.ask("top", min(size, 7), top):
            top += 1
        number = 1
        for below in range(top):
            number = number * 2 + (fraction.ask("second", top) if below == 0 else fraction.bit())
        numbers.append(-number if is_negative else number)
        gap, near, size, signs = 0, int(gap == 0), top, (signs * 2 + is_negative) % 4
    need(len(data) <= fraction.at and not data.endswith(b"\0"), "arithmetic: bytes left over")
    return numbers


def read_minis(reader, count, order, is_wide):
    """Residuals in the order of rows."""
    reference, out = 0, []
    while len(out) < count:
        rows = min(256, count - len(out))
        is_laned = rows == 256 and not is_wide
        head = reader.fixed(1)
        width = 64 if head & 63 == 63 else head & 63
        reference = reader.signed() if head & 0x80 else reference
        patches = reader.fixed(1) if head & 0x40 else 0
        patch_bytes = reader.fixed(1) if head & 0x40 else 0
        bits = reader.take(width * 32 if is_laned else (rows * width + 7) // 8)
        numbers = unpack_lanes(bits, width) if is_laned else unpack_bits(bits, rows, width)
        numbers = [reference + n for n in numbers]
        places = reader.take(patches)
        for place in places:
            folded = reader.fixed(patch_bytes)
            numbers[place] = reference + (folded >> 1 ^ -(folded & 1))
        if is_laned and order > 0:  # by columns of lanes
            numbers = [numbers[i % 32 * 8 + i // 32] for i in range(256)]
        out += numbers
    need(reader.at == len(reader.data), "packed: bytes left over")
    return out


def read_packed(data, count):
    reader = Reader(data)
    flags = reader.fixed(1)
    need(flags < 0x80 and flags & 3 < 3 and flags & 0x60 != 0x60, "packed: flags")
    need(not (flags & 4 and flags & 0x60), "packed: wide")
    order, is_wide = flags & 3, bool(flags & 4)
    base = reader.signed()
    slope = reader.signed() if order == 2 else 0
    scale = reader.varint() if flags & 8 else 1
    base = base * scale if flags & 16 else base
    if flags & 0x20:
        numbers = read_entropy(reader.rest(), count)
    elif flags & 0x40:
        numbers = read_arithmetic(reader.rest(), count)
    else:
        numbers = read_minis(reader, count, order, is_wide)
    total, out = 0, []
    for number in numbers:
        if order == 0:
            total = number
        elif order == 1:
            total += number
        else:
            slope += number
            total += slope
        offset = total if is_wide else to_i32(total)
        out.append((base + scale * offset) & (2**64 - 1))
    return out


# ---- encodings ----
def read_exceptions(reader):
    found, row = {}, 0
    for _ in range(reader.varint()):
        row += reader.varint()
        found[row] = reader.fixed(8)
        row += 1
    return found


def read_decimals(data, count):
    reader = Reader(data)
    head = reader.fixed(1)
    exceptions = read_exceptions(reader) if head & 0x80 else {}
    power = 10.0 ** (head & 0x7F)
    words = [bits_of(float(to_i64(k)) / power) for k in read_packed(reader.rest(), count)]
    for row, word in exceptions.items():
        words[row] = word
    return words


def ordered(word):
    return word ^ (2**63 - 1) if word >> 63 else word


def read_integers(data, count, is_float):
    words = read_packed(data, count)
    return [ordered(w) for w in words] if is_float else words


def read_floats(data, count):
    words = []
    for number in read_packed(data, count):
        number &= 2**32 - 1
        number ^= 2**31 - 1 if number >> 31 else 0
        words.append(bits_of(struct.unpack("<f", struct.pack("<I", number))[0]))
    return words


def read_list(data, count, is_float):
    need(data[0] in (2, 8, 9), "list: encoding")
    return decode(data[0], data[1:], count, is_float)


def read_times(data, count):
    reader = Reader(data)
    head = reader.fixed(1)
    scale = reader.varint()
    base = reader.signed() * (scale if head & 0x80 else 1)
    step = reader.signed() * scale
    moves, row = {}, 0
    for _ in range(reader.varint()):
        row += reader.varint()
        moves[row] = moves.get(row, 0) + reader.signed() * scale
    out = []
    for row in range(count):
        base += moves.get(row, 0)
        out.append(base)
        base += step
    mode = head & 0x7F
    off = list(range(count)) if mode == 2 else []
    if mode == 1:
        bitmap = reader.take((count + 7) // 8)
        off = [row for row in range(count) if bitmap[row // 8] >> row % 8 & 1]
    if off:
        for row, jitter in zip(off, read_packed(reader.rest(), len(off))):
            out[row] += scale * to_i64(jitter)
    return [t & (2**64 - 1) for t in out]


def read_xor(data, count):
    stream, at = int.from_bytes(data, "little"), 0

    def take(bits):
        nonlocal at
        at += bits
        need(at <= len(data) * 8, "xor: bits end")
        return stream >> at - bits & (1 << bits) - 1

    words, leading, length = [take(64)], 64, 0
    while len(words) < count:
        word = words[-1]
        if take(1):
            if take(1):
                leading, length = take(6), take(6) + 1
            word ^= take(length) << 64 - leading - length
        words.append(word)
    return words


def read_split(data, count):
    reader = Reader(data)
    right = reader.fixed(1)
    lefts = [reader.fixed(2) for _ in range(reader.fixed(1))]
    exceptions, row = {}, 0
    for _ in range(reader.varint()):
        row += reader.varint()
        exceptions[row] = reader.fixed(2)
        row += 1
    width = (len(lefts) - 1).bit_length()
    indexes = unpack_bits(reader.take((count * width + 7) // 8), count, width)
    rights = unpack_bits(reader.take((count * right + 7) // 8), count, right)
    return [exceptions.get(i, lefts[indexes[i]]) << right | rights[i] for i in range(count)]


def rounded(number):
    number = number if abs(number) < 2**51 else 0.0  # also NaN
    return number + 6755399441055744.0 - 6755399441055744.0


def guess(model, a, b, phase, u, w):
    out, total = [], 0
    for i, x in enumerate(u):
        if model == 4:
            term = x * (a if x > 0 else b)
            total += int(rounded(term if abs(term) < 2**40 else 0.0))
            out.append(float(total + phase >> 16))
            continue
        if model == 2:
            x = x / w[i] if w[i] else float("nan")
        elif model == 3:
            x = x * w[i]
        term = a * x + b
        out.append(rounded(term if abs(term) < 2**40 else 0.0))
    return out


def read_predicted(data, count, is_float, peers):
    reader = Reader(data)
    head, exponent = reader.fixed(1), reader.fixed(1)
    model = head & 15
    need(1 <= model <= 5, "predicted: model")
    named = [reader.fixed(1) for _ in range(2 if model in (2, 3) else 1)]
    a, b = struct.unpack("<ff", reader.take(8))
    phase = reader.fixed(2) if model == 4 else 0
    delay = reader.fixed(1) if model == 5 else 0
    need(delay < 16, "predicted: delay")
    exceptions = read_exceptions(reader) if head & 0x80 else {}
    columns = [[float(to_i64(v)) if head >> 4 + i & 1 else double_of(v) for v in peers[p]]
               for i, p in enumerate(named)]
    columns[0] = ([columns[0][0]] * delay + columns[0])[:count]
    guesses = guess(model, a, b, phase, columns[0], columns[-1])
    sums = [int(g) + to_i64(d) for g, d in zip(guesses, read_packed(reader.rest(), count))]
    if not is_float:
        return [s & (2**64 - 1) for s in sums]
    words = [bits_of(float(s) / 10.0 ** exponent) for s in sums]
    for row, word in exceptions.items():
        words[row] = word
    return words


def decode(encoding, data, count, is_float, peers=()):
    """The words of one block."""
    if encoding == 1:
        return [u64(data, 0)] * count
    if encoding == 2:
        return list(struct.unpack(f"<{count}Q", data))
    if encoding == 8:
        return read_integers(data, count, is_float)
    if encoding == 9:
        return read_decimals(data, count)
    if encoding == 10:
        return read_floats(data, count)
    if encoding in (11, 12):
        reader = Reader(data)
        words = reader.varint()
        packed = reader.take(reader.varint())
        numbers = read_packed(packed, words if encoding == 11 else count)
        values = read_list(reader.rest(), words, is_float)
        if encoding == 12:
            return [values[i] for i in numbers]
        return [v for v, length in zip(values, numbers) for _ in range(length + 1)]
    if encoding == 13:
        return read_times(data, count)
    if encoding == 14:
        return read_xor(data, count)
    if encoding == 15:
        return read_split(data, count)
    if encoding == 16:
        return read_predicted(data, count, is_float, peers)
    raise Damage(f"encoding {encoding} is not known")


# ---- statistics ----
def decimal_of(number):
    """The decimal of few digits that a double stands for in a sum; None: it is none."""
    for exponent in range(10, -1, -1):
        integer = round(Fraction(number) * 10 ** exponent)
        if abs(integer) < 2**51:
            return Fraction(integer, 10 ** exponent) if integer / 10 ** exponent == number else None
    return None


def sum_of(words, kind):
    """The exact sum, or a float if it is not finite."""
    if kind != FLOAT64:
        return Fraction(sum(map(to_i64, words)))
    numbers = [double_of(word) for word in words]
    special = [number for number in numbers if not math.isfinite(number)]
    if special:
        return sum(special)
    decimals = [decimal_of(number) for number in numbers]
    binary = [Fraction(number) for number, decimal in zip(numbers, decimals) if decimal is None]
    total = sum((decimal for decimal in decimals if decimal is not None), Fraction(0))
    if binary:
        top = max((math.frexp(float(number))[1] - 1) // 64 for number in binary)  # the highest bin, from that of 2^0
        unit = Fraction(2) ** (64 * (top - 2))
        total += sum(math.trunc(number / unit) for number in binary) * unit
    return total


def read_sum(reader):
    flags, total = reader.fixed(1), Fraction(0)
    need(flags < 16, "sum: flags")

    def integer(most):
        length = reader.fixed(1)
        need(length <= most, "sum: length")
        return int.from_bytes(reader.take(length), "little", signed=True)
    total += Fraction(integer(24), 10 ** 10)
    if flags & 8:
        top = reader.fixed(1)
        need(top <= 32, "sum: top")
        total += sum(Fraction(2) ** (64 * (top - 2 + i - 17)) * integer(16) for i in range(3))
    if flags & 1 or flags & 6 == 6:
        return math.nan
    return math.inf if flags & 2 else -math.inf if flags & 4 else total


def read_stats(data, kind, rows):
    """(count, [min, max, first, last], sum) of a block or column; None: it has no values."""
    if not data:
        return None
    reader = Reader(data)
    flags = reader.fixed(1)
    exponent, count = flags & 15, rows
    need(flags < 128 and (exponent <= 10 or exponent == 15), "statistics: flags")
    if flags & 16:
        count = reader.varint()
        reader.varint(), reader.varint()
    if exponent == 15:
        words = [reader.fixed(8) for _ in range(1 if flags & 64 else 4)]
    else:
        least = reader.signed()
        integers = [least] + [least + reader.varint() for _ in range(0 if flags & 64 else 3)]
        words = [bits_of(k / 10 ** exponent) if kind == FLOAT64 else k % 2**64 for k in integers]
    total = None
    if kind != STATE and flags & 32:
        total = read_sum(reader)
    elif kind != STATE:
        total = Fraction(count * least + reader.varint(), 10 ** exponent)
    need(reader.at == len(data), "statistics: bytes are left over")
    return count, words * 4 if flags & 64 else words, total


def check_stats(stats, kind, points, table):
    """points: (time, value) in order; the statistics say the same."""
    if not points:
        need(stats is None, "statistics: of no values")
        return
    count, words, total = stats
    values = [value for _, value in points]

    def order(value):
        if kind != FLOAT64:
            return value if kind == STATE else to_i64(value)
        return to_i64(value) ^ (2**63 - 1 if value >> 63 else 0)
    numbers = [v for v in values if kind != FLOAT64 or not math.isnan(double_of(v))] or values
    found = [table[word] if kind == STATE else word for word in words]
    expected = [min(numbers, key=order), max(numbers, key=order), values[0], values[-1]]
    need(count == len(values) and found == expected, "statistics: of other values")
    if kind != STATE:
        expected = sum_of(values, kind)
        need(total == expected or (total != total and expected != expected), "statistics: the sum")


# ---- a run ----
class Part:
    """What one battery has of a shared run: as of a run of its own."""

    def __init__(self, run):
        self.revision, self.encodings = run.revision, run.encodings
        self.columns = [(metric, kind, {}) for metric, kind, _ in run.columns]
        self.points, self.last = 0, None


class Run:
    """One battery, one window, one revision. columns: [(metric, type, {time: value})]. A shared one
    has parts instead: {battery: Part}, of one partition."""

    def __init__(self, data):
        need(data[0:2] == b"R2", "run: magic or version")
        flags, widths = data[2], data[3]
        need(flags < 128 and widths & 8 == 0, "run: a newer version")
        reader = Reader(data)
        reader.at = 8
        unit = 10 ** (widths >> 4)
        self.revision, rows, columns, absent = (reader.varint() for _ in range(4))
        first = reader.signed() * unit
        span = reader.varint() * unit
        is_many, has_stats, has_texts = flags & 2, flags & 4, flags & 8
        blocks = reader.varint() if is_many else 1
        stats_bytes = reader.varint() if has_stats else 0
        texts = reader.varint() if has_texts else 0
        text_bytes = reader.varint() if has_texts else 0
        self.parts, owners = None, None
        if flags & 64:
            need(not has_stats, "run: a shared run with statistics")
            self.partition, members, member_bytes = (reader.varint() for _ in range(3))
        width = 1 << (widths & 3)
        metrics = [reader.fixed(width) for _ in range(1 if flags & 16 else columns)]
        if flags & 16:
            metrics = [metrics[0] + i for i in range(columns)]
        packed = reader.take((columns + 3) // 4)
        types = [(packed[i // 4] >> i % 4 * 2 & 3) + 1 for i in range(columns)]
        parts = (columns + 1) * blocks
        lengths = [reader.fixed(2 if widths & 4 else 1) for _ in range(parts)]
        encodings = list(reader.take(parts))
        checksums = None if flags & 1 else [reader.fixed(4) for _ in range(parts)]
        block_rows = [rows]
        if is_many:
            block_rows = [reader.fixed(2) + 1 for _ in range(blocks)]
            reader.take(blocks * (16 if flags & 32 else 8) + (columns + 1) * 4)
        if has_stats:
            stats_lengths = reader.take(columns * (blocks + bool(is_many)))
            reader.take(columns * 4 if is_many else 0)
            stats = [reader.take(length) for length in stats_lengths]  # column after column
            need(sum(stats_lengths) == stats_bytes, "run: bytes of statistics")
        if flags & 64:
            batteries, owners = self._members(Reader(reader.take(member_bytes)), members, block_rows)
        table = []
        if has_texts:
            reader.take(-reader.at % 4)
            offsets = [reader.fixed(4) for _ in range(texts)]
            reader.take(text_bytes)
            table = [data[at + 4:at + 4 + u32(data, at)] for at in offsets]
        head_end = reader.at
        covered = head_end + sum(lengths) if flags & 1 else head_end
        need(crc32c(data[8:covered], crc32c(data[0:4])) == u32(data, 4), "run: checksum of the head")
        blocks_of = []
        for part in range(parts):
            block = reader.take(lengths[part])
            need(checksums is None or crc32c(block) == checksums[part], "run: checksum of a block")
            blocks_of.append(block)
        self.encodings = sorted({e & 0x7F for e in encodings if e})
        self.columns = [(m, t, {}) for m, t in zip(metrics, types)]
        if flags & 64:
            self.parts = {battery: Part(self) for battery in batteries}
        ranges = [self._block(b, blocks, block_rows[b], blocks_of, encodings, table, owners)
                  for b in range(blocks)]
        if has_stats:
            self._check_stats(stats, rows, block_rows, ranges, table)
        parts = list(self.parts.values()) if self.parts else [self]
        for part in self.parts.values() if self.parts else ():
            part.points = sum(len(values) for _, _, values in part.columns)
        self.points = sum(len(values) for part in parts for _, _, values in part.columns)
        self.length = reader.at
        need(self.points == rows * columns - absent, "run: points")
        times = [t for part in parts for _, _, values in part.columns for t in values]
        need(min(times) >= first and max(times) <= first + span, "run: range of times")

    @staticmethod
    def _members(reader, count, block_rows):
        """(batteries, [the battery of each row of a block])"""
        batteries, battery, owners = [], -1, []
        for i in range(count):
            battery = reader.varint() if i == 0 else battery + 1 + reader.varint()
            batteries.append(battery)
        for rows in block_rows:
            first, members, each = (reader.varint() for _ in range(3))
            of_block = []
            for battery in batteries[first:first + members]:
                of_block += [battery] * (each or reader.varint())
            need(first + members <= count and len(of_block) == rows, "run: rows of a shared block")
            owners.append(of_block)
        need(reader.at == len(reader.data) and batteries[-1] < 2**32, "run: members")
        need({b for block in owners for b in block} == set(batteries), "run: a member has no rows")
        return batteries, owners

    def _block(self, b, blocks, rows, blocks_of, encodings, table, owners):
        times = [to_i64(t) for t in decode(encodings[b], blocks_of[b], rows, False)]
        for battery, time in zip(owners[b] if owners else (), times):
            part = self.parts[battery]
            need(part.last is None or part.last < time, "run: times of a battery")
            part.last = time
        found, waiting = {}, []
        for c, (_, kind, _) in enumerate(self.columns):
            part = (c + 1) * blocks + b
            if encodings[part] & 0x7F == 16:
                waiting.append(c)
            elif encodings[part]:
                found[c] = self._column(encodings[part], blocks_of[part], rows, kind)
        # Peers of predicted columns: those of which all rows are present, in their order.
        whole = [c for c in range(len(self.columns))
                 if encodings[(c + 1) * blocks + b] and not encodings[(c + 1) * blocks + b] & 0x80]
        peers = {i: found[c][1] for i, c in enumerate(whole) if c in found}
        for c in waiting:
            part = (c + 1) * blocks + b
            found[c] = self._column(encodings[part], blocks_of[part], rows, self.columns[c][1], peers)
        for c, (present, words) in found.items():
            kind = self.columns[c][1]
            for row, word in zip(present, words):
                part = self.parts[owners[b][row]] if owners else self
                part.columns[c][2][times[row]] = table[word] if kind == STATE else word
        return times[0], times[-1]

    def _check_stats(self, stats, rows, block_rows, ranges, table):
        """Of each column: the whole run first if there are several blocks, then the blocks."""
        wholes = [(rows, (ranges[0][0], ranges[-1][1]))] if len(ranges) > 1 else []
        parts = wholes + list(zip(block_rows, ranges))
        for c, (_, kind, values) in enumerate(self.columns):
            points = sorted(values.items())
            for i, (count, (first, last)) in enumerate(parts):
                check_stats(read_stats(stats[c * len(parts) + i], kind, count), kind,
                            [point for point in points if first <= point[0] <= last], table)

    @staticmethod
    def _column(encoding, data, rows, kind, peers=()):
        present = range(rows)
        if encoding & 0x80:
            bitmap, data = data[:(rows + 7) // 8], data[(rows + 7) // 8:]
            present = [r for r in range(rows) if bitmap[r // 8] >> r % 8 & 1]
        return present, decode(encoding & 0x7F, data, len(present), kind == FLOAT64, peers)


# ---- a pack, a segment ----
def read_pack(data):
    """(seq, before, [((partition, battery), run)])"""
    need(data[0:4] == b"BBP2", "pack: magic or version")
    seq, entries, before, runs = u32(data, 8), u32(data, 12), u64(data, 16), u32(data, 24)
    batteries = [u32(data, 28 + 4 * i) for i in range(entries)]
    offsets = [u32(data, 28 + 4 * (entries + i)) for i in range(runs)] + [len(data)]
    at = 28 + 4 * (entries + runs)
    partitions = [u16(data, at + 2 * i) for i in range(entries)]
    named = [u16(data, at + 2 * (entries + i)) for i in range(entries)]
    end = at + 4 * entries
    need(crc32c(data[8:end]) == u32(data, 4), "pack: checksum of the index")
    need(offsets[0] == end and list(dict.fromkeys(named)) == list(range(runs)), "pack: runs")
    return seq, before, [((p, b), data[offsets[run]:offsets[run + 1]])
                         for p, b, run in zip(partitions, batteries, named)]


def read_segment(entries):
    """Yields (partition, battery, Run) of (key, value) in the order of keys; damage is an error."""
    last = NONE
    for index, (key, value) in enumerate(sorted(entries)):
        partition, battery, seq = struct.unpack(">HII", key)
        pack_seq, before, runs = read_pack(value)
        need(seq == index == pack_seq and before == last, "segment: a pack is missing")
        opened = {run: Run(run) for run in {run for _, run in runs}}
        for place, run in runs:
            one = opened[run]
            if one.parts is not None:
                need(place[0] == one.partition and place[1] in one.parts, "segment: who shares a run")
                one = one.parts[place[1]]
            yield (*place, one)
        need(runs[-1][0] == (partition, battery), "segment: key")
        last = partition << 32 | battery


# ---- FlatBuffers, as little as is needed ----
class Table:
    def __init__(self, data, at):
        self.data, self.at = data, at
        vtable = at - struct.unpack_from("<i", data, at)[0]
        self.slots = [u16(data, vtable + 4 + 2 * i) for i in range((u16(data, vtable) - 4) // 2)]

    def slot(self, index):
        return self.at + self.slots[index] if index < len(self.slots) and self.slots[index] else None

    def number(self, index, form, default=0):
        at = self.slot(index)
        return default if at is None else struct.unpack_from(form, self.data, at)[0]

    def vector(self, index):
        """(begin, count)"""
        at = self.slot(index)
        if at is None:
            return 0, 0
        at += u32(self.data, at)
        return at + 4, u32(self.data, at)

    def numbers(self, index, form):
        begin, count = self.vector(index)
        return list(struct.unpack_from(f"<{count}{form}", self.data, begin)) if count else []

    def bytes(self, index):
        begin, count = self.vector(index)
        return self.data[begin:begin + count]

    def tables(self, index):
        begin, count = self.vector(index)
        return [Table(self.data, begin + 4 * i + u32(self.data, begin + 4 * i)) for i in range(count)]

    def texts(self, index):
        begin, count = self.vector(index)
        places = [begin + 4 * i + u32(self.data, begin + 4 * i) for i in range(count)]
        return [self.data[at + 4:at + 4 + u32(self.data, at)].decode() for at in places]


def root(data, identifier):
    need(data[4:8] == identifier, f"identifier {data[4:8]}")
    return Table(data, u32(data, 0))


# ---- wire columns, batches, chunks ----
def read_column(data, at, count):
    """(words, where the next column begins)"""
    encoding, width, exponent, flags = data[at:at + 4]
    exceptions = u32(data, at + 4)
    at += 8
    if encoding == 1:
        return list(struct.unpack_from(f"<{count}Q", data, at)), at + 8 * count
    base = u64(data, at)
    at += 8
    scale = 1
    if flags & 1:
        scale, at = u64(data, at), at + 8
    size = (count * width + 63) // 64 * 8
    packed = unpack_bits(data[at:at + size], count, width)
    at += size
    if encoding == 2:
        words = [(base + scale * p) & (2**64 - 1) for p in packed]
    else:
        need(encoding == 3, "column: encoding")
        words = [bits_of(float(to_i64(base) + p) / 10.0 ** exponent) for p in packed]
    whole = struct.unpack_from(f"<{exceptions}Q", data, at)
    at += 8 * exceptions
    for row, word in zip(struct.unpack_from(f"<{exceptions}I", data, at), whole):
        words[row] = word
    return words, at + (exceptions * 4 + 7) // 8 * 8


def read_batch(data):
    """{revision, parts: [partition], points: [(partition, battery, metric, type, time, value)]}"""
    table = root(data, b"BBBA")
    need(table.number(0, "<I") == 2, "batch: version")
    parts, runs, frames, batteries = (table.number(i, "<I") for i in (3, 4, 5, 6))
    at, _ = table.vector(11)

    def column(count):
        nonlocal at
        words, at = read_column(data, at, count)
        return words

    partitions, run_counts = column(parts), column(parts)
    run_batteries, run_shapes, run_frames = column(runs), column(runs), column(runs)
    ids, ends = table.bytes(7), [0]
    for length in column(batteries):
        ends.append(ends[-1] + length)
    names = [ids[a:b].decode() for a, b in zip(ends, ends[1:])]
    times = [to_i64(t) for t in column(frames)]
    states = table.texts(10)
    shapes = [(shape.texts(0), list(shape.bytes(1))) for shape in table.tables(9)]
    values = []
    for index, (metrics, _) in enumerate(shapes):
        of_shape = sum(f for f, s in zip(run_frames, run_shapes) if s == index)
        values.append([column(of_shape) for _ in metrics])
    points, frame, taken, run = [], 0, [0] * len(shapes), 0
    for partition, count in zip(partitions, run_counts):
        for _ in range(count):
            shape = run_shapes[run]
            for _ in range(run_frames[run]):
                for metric, kind, words in zip(*shapes[shape], values[shape]):
                    word = words[taken[shape]]
                    value = states[word] if kind == STATE else word
                    points.append((partition, names[run_batteries[run]], metric, kind, times[frame], value))
                taken[shape] += 1
                frame += 1
            run += 1
    return {"revision": table.number(2, "<Q"), "parts": partitions, "points": points}


def read_chunks(data):
    table = root(data, b"BBCH")
    if table.number(0, "<I") == 2:
        base, width, offsets = table.number(6, "<Q"), table.number(7, "<B"), table.bytes(8)
        seqs = [base + int.from_bytes(offsets[at:at + width], "little") for at in range(0, len(offsets), width)]
    else:
        seqs = table.numbers(4, "Q")
    return {"epoch": table.number(1, "<I"), "origin": table.number(2, "<q"), "stream": table.bytes(3),
            "seqs": seqs, "quarantined": table.numbers(5, "I")}


# ---- the meta map, the map of rollups ----
def read_records(entries):
    """Entries as stored -> {key: value}: keys ascend, and each value's checksum is taken off."""
    found, last = {}, b""
    for key, record in entries:
        need(key > last, "record: order of keys")
        need(len(record) >= 4 and crc32c(record[:-4], crc32c(key)) == u32(record, len(record) - 4), f"record {key!r}")
        found[key], last = record[:-4], key
    return found


# ---- a journal file ----
def read_journal(data):
    """(header, [(seq, group, chunks, batch)]); ends where records end."""
    need(data[0:4] == b"BBJF" and u32(data, 4) == 2, "journal: magic or version")
    need(crc32c(data[0:60]) == u32(data, 60), "journal: checksum of the header")
    header = {"owner": u64(data, 8), "file_seq": u64(data, 16), "base_seq": u64(data, 24),
              "flags": u32(data, 32), "previous_bytes": u64(data, 40), "recycled_bytes": u64(data, 48)}
    place = data[8:24]  # owner and number of the file bind the records to it
    records, at = [], 64
    while data[at:at + 4] == b"BBJ1":
        seq, group = u64(data, at + 8), u64(data, at + 16)
        chunks, batch = u32(data, at + 24), u32(data, at + 28)
        end = at + 40 + (chunks + 7) // 8 * 8 + (batch + 7) // 8 * 8
        crc = crc32c(data[at + 40:end])
        if end > len(data) or crc32c(place, crc32c(data[at + 8:at + 40], crc)) != u32(data, at + 4):
            break
        begin = at + 40 + (chunks + 7) // 8 * 8
        records.append((seq, group, read_chunks(data[at + 40:at + 40 + chunks]),
                        read_batch(data[begin:begin + batch])))
        at = end
    return header, records
