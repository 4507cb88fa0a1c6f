//! What a message says, so that its echo can be known again and checked byte for byte.
//!
//! A message is a number in hexadecimal digits, as many as fit, up to eight, and then a piece of a fixed pattern that
//! the number chooses. Refuses to know connections. Invariant: a message is a function of its number and its length, so
//! nothing has to be kept to check it. But for bytes at random, everything is ASCII: the same bytes do as text.

use fastrand::Rng;

use crate::order::Payload as Kind;

const DIGITS: usize = 8;
const PERIOD: usize = 251;
/// Places where a message's piece of text or noise may begin: so many that a window of 32 KiB, which is what a compressor
/// remembers, seldom holds the piece of another.
const SPREAD: usize = 1 << 20;

/// Makes and checks messages.
pub struct Payload {
    /// The pattern, longer than the longest message by its period.
    pattern: Vec<u8>,
    /// Where in it a message's piece may begin.
    period: usize,
    scratch: Vec<u8>,
}

impl Payload {
    /// For messages of this kind and up to this length.
    pub fn new(kind: Kind, longest: usize) -> Self {
        let (pattern, period) = match kind {
            Kind::Letters => (letters(longest + PERIOD), PERIOD),
            Kind::Json => (json(longest + SPREAD), SPREAD),
            Kind::Random => (noise(longest + SPREAD), SPREAD),
        };
        Payload { pattern, period, scratch: Vec::with_capacity(longest) }
    }

    fn from(&self, number: u32) -> usize {
        // Fibonacci hashing puts consecutive numbers far from each other; in a short pattern they just follow.
        let number = if self.period == SPREAD { number.wrapping_mul(0x9E37_79B9) } else { number };
        number as usize % self.period
    }

    /// The message of this number and length.
    pub fn of(&mut self, number: u32, len: usize) -> &[u8] {
        let digits = len.min(DIGITS);
        let (text, from) = (hex(number), self.from(number));
        self.scratch.clear();
        self.scratch.extend_from_slice(&text[DIGITS - digits..]);
        self.scratch.extend_from_slice(&self.pattern[from..from + len - digits]);
        &self.scratch
    }

    /// True when these are the bytes of the message of this number and length.
    pub fn is(&self, bytes: &[u8], number: u32, len: usize) -> bool {
        let digits = len.min(DIGITS);
        let (text, from) = (hex(number), self.from(number));
        bytes.len() == len
            && bytes[..digits] == text[DIGITS - digits..]
            && bytes[digits..] == self.pattern[from..from + len - digits]
    }

    /// The number that a message begins with, and how many of its lowest bits could be read; `None` when it does not
    /// begin with one.
    pub fn number(bytes: &[u8]) -> Option<(u32, u32)> {
        let digits = bytes.len().min(DIGITS);
        let mut number = 0;
        for byte in &bytes[..digits] {
            number = number << 4 | char::from(*byte).to_digit(16)?;
        }
        Some((number, 4 * digits as u32))
    }
}

fn letters(len: usize) -> Vec<u8> {
    let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";
    // Two strides without a common divisor with the period keep pieces at different offsets different.
    let letter = |at: usize| letters[(at % PERIOD * 7 + at % PERIOD / 3) % letters.len()];
    (0..len).map(letter).collect()
}

/// Records with names that repeat and values that do not; the same in each run.
fn json(len: usize) -> Vec<u8> {
    let mut rng = Rng::with_seed(1);
    let mut text = String::with_capacity(len + 200);
    while text.len() < len {
        let (id, at, level) = (rng.u32(..1_000_000), rng.u64(..1 << 40), rng.u32(..10_000));
        let state = ["rising", "falling", "slack"][rng.usize(..3)];
        text += &format!(
            "{{\"id\":{id},\"at\":{at},\"level\":{}.{:02},\"state\":\"{state}\",\"open\":{}}},",
            level / 100,
            level % 100,
            rng.bool()
        );
    }
    text.truncate(len);
    text.into_bytes()
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Rng::with_seed(1).fill(&mut bytes);
    bytes
}

fn hex(number: u32) -> [u8; DIGITS] {
    std::array::from_fn(|place| {
        let digit = (number >> (4 * (DIGITS - 1 - place))) & 15;
        b"0123456789abcdef"[digit as usize]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [usize; 7] = [0, 1, 3, 8, 9, 20, 1_000];

    #[test]
    fn a_message_is_known_again() {
        for (kind, len) in [Kind::Letters, Kind::Json, Kind::Random]
            .into_iter()
            .flat_map(|kind| LENGTHS.map(|len| (kind, len)))
        {
            let mut payload = Payload::new(kind, 1_000);
            for number in [0, 1, 255, 0xdead_beef, u32::MAX] {
                let bytes = payload.of(number, len).to_vec();
                assert_eq!(bytes.len(), len);
                assert!(bytes.is_ascii() || kind == Kind::Random);
                assert!(payload.is(&bytes, number, len), "{number} {len}");
                let (read, bits) = Payload::number(&bytes).unwrap();
                let mask = if bits == 32 { u32::MAX } else { (1 << bits) - 1 };
                assert_eq!(read, number & mask);
            }
        }
    }

    #[test]
    fn another_message_is_told_apart() {
        let mut payload = Payload::new(Kind::Letters, 100);
        let bytes = payload.of(7, 100).to_vec();
        assert!(!payload.is(&bytes, 8, 100));
        assert!(!payload.is(&bytes[..99], 7, 100));
        for at in 0..100 {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(!payload.is(&wrong, 7, 100), "byte {at}");
        }
        assert_eq!(Payload::number(b"xyz"), None);
        assert_eq!(Payload::number(b""), Some((0, 0)));
    }
}
