//! How far a compressed message looks back: a reader of DEFLATE that keeps distances and nothing else (RFC 1951 §3.2).
//!
//! Refuses to know the bytes that come of it. Invariant: it reads what a compressor wrote; on anything else it panics.

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> usize {
        (0..count).fold(0, |value, i| value | self.bit() << i)
    }

    fn bit(&mut self) -> usize {
        let bit = self.bytes[self.at / 8] >> (self.at % 8) & 1;
        self.at += 1;
        usize::from(bit)
    }

    fn symbol(&mut self, code: &Code) -> usize {
        let (mut read, mut first, mut place) = (0, 0, 0);
        for count in &code.counts[1..] {
            read |= self.bit();
            if read < first + count {
                return code.symbols[place + read - first];
            }
            place += count;
            first = (first + count) << 1;
            read <<= 1;
        }
        panic!("no such code");
    }
}

/// A canonical code (§3.2.2): how many symbols have which length, and the symbols in the order of their codes.
struct Code {
    counts: [usize; 16],
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; 16];
        lengths.iter().for_each(|&len| counts[len] += 1);
        let of_len = |len| (0..lengths.len()).filter(move |&symbol| lengths[symbol] == len);
        Code { counts, symbols: (1..16).flat_map(of_len).collect() }
    }
}

const LENGTH_EXTRA: [usize; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

fn fixed() -> (Code, Code) {
    let literals = (0..288).map(|symbol| match symbol {
        0..=143 | 280.. => 8,
        144..=255 => 9,
        _ => 7,
    });
    (Code::new(&literals.collect::<Vec<_>>()), Code::new(&[5; 30]))
}

fn dynamic(bits: &mut Bits<'_>) -> (Code, Code) {
    let (literals, distances, codes) = (bits.take(5) + 257, bits.take(5) + 1, bits.take(4) + 4);
    let mut meta = [0; 19];
    for &place in &ORDER[..codes] {
        meta[place] = bits.take(3);
    }
    let (meta, mut lengths) = (Code::new(&meta), Vec::new());
    while lengths.len() < literals + distances {
        match bits.symbol(&meta) {
            16 => {
                let (last, count) = (*lengths.last().expect("one to repeat"), 3 + bits.take(2));
                lengths.extend(std::iter::repeat_n(last, count));
            }
            17 => lengths.extend(std::iter::repeat_n(0, 3 + bits.take(3))),
            18 => lengths.extend(std::iter::repeat_n(0, 11 + bits.take(7))),
            len => lengths.push(len),
        }
    }
    (Code::new(&lengths[..literals]), Code::new(&lengths[literals..]))
}

/// The longest distance in a message without its tail.
pub fn farthest(message: &[u8]) -> usize {
    let bytes = [message, &super::TAIL].concat();
    let mut bits = Bits { bytes: &bytes, at: 0 };
    let mut most = 0;
    while bits.at + 3 <= bytes.len() * 8 {
        bits.take(1);
        let (literals, distances) = match bits.take(2) {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let len = bits.take(16);
                bits.take(16);
                bits.at += len * 8;
                continue;
            }
            1 => fixed(),
            _ => dynamic(&mut bits),
        };
        loop {
            let symbol = bits.symbol(&literals);
            if symbol < 256 {
                continue;
            }
            if symbol == 256 {
                break;
            }
            bits.take(LENGTH_EXTRA[symbol - 257]);
            let code = bits.symbol(&distances);
            let extra = (code / 2).saturating_sub(1);
            let base = if code < 4 { code + 1 } else { ((2 + code % 2) << extra) + 1 };
            most = most.max(base + bits.take(extra));
        }
    }
    most
}
