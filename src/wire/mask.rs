//! Masking: XOR with a repeated four-byte key, in place (RFC 6455 §5.3). Masking and unmasking are the same.
//!
//! Knows nothing of frames. Invariant: masking a payload piece by piece, turning the key by each piece's length, gives
//! what masking it whole gives.

/// The processor's cache line. A step that crosses the edge of one costs twice.
const LINE: usize = 64;
/// From this length on it pays to begin with the bytes before the first line.
const ALIGNED_MIN: usize = 8 * LINE;

/// Applies `key` to `bytes`, whose first byte meets `key[0]`.
///
/// No loop handles single bytes, but for three at most. What the wide steps leave over at the end is masked by one more
/// of them that covers bytes twice: what they are to be is taken before anything is masked, and written last.
pub fn apply(key: [u8; 4], bytes: &mut [u8]) {
    let turned = turn(key, bytes.len());
    match bytes.len() {
        0..=32 => {
            apply_short(key, bytes);
        }
        33..ALIGNED_MIN => apply_long(key, turned, bytes),
        _ => {
            let before = bytes.as_ptr().addr().wrapping_neg() % LINE;
            let (head, lines) = bytes.split_at_mut(before);
            apply(key, head);
            apply_long(turn(key, before), turned, lines);
        }
    }
}

/// [`apply`] for short payloads; true when all that comes of it is ASCII, which costs nothing to see on the way.
#[inline]
pub fn apply_short(key: [u8; 4], bytes: &mut [u8]) -> bool {
    let turned = turn(key, bytes.len());
    match bytes.len() {
        0..4 => bytes.iter_mut().zip(key).fold(true, |ascii, (byte, key)| {
            *byte ^= key;
            ascii & byte.is_ascii()
        }),
        4..8 => apply_ends::<4>(key, turned, bytes),
        8..16 => apply_ends::<8>(key, turned, bytes),
        16..=32 => apply_ends::<16>(key, turned, bytes),
        _ => {
            apply(key, bytes);
            bytes.is_ascii()
        }
    }
}

/// At least `N` bytes, at most twice as many; true when they are ASCII. `N` is a multiple of the key's four.
#[inline(always)]
fn apply_ends<const N: usize>(key: [u8; 4], turned: [u8; 4], bytes: &mut [u8]) -> bool {
    let first = bytes.first_chunk::<N>().map(|chunk| xor(*chunk, key));
    let last = bytes.last_chunk::<N>().map(|chunk| xor(*chunk, turned));
    let (Some(first), Some(last)) = (first, last) else { return false };
    if let Some(place) = bytes.first_chunk_mut() {
        *place = first;
    }
    if let Some(place) = bytes.last_chunk_mut() {
        *place = last;
    }
    high_bits(&first) | high_bits(&last) == 0
}

/// The highest bits of all bytes, in words put upon each other. `N` is a multiple of four.
#[inline(always)]
fn high_bits<const N: usize>(bytes: &[u8; N]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let all = words.iter().fold(0, |all, word| all | u64::from_ne_bytes(*word));
    let rest = rest.first_chunk().map_or(0, |word| u32::from_ne_bytes(*word));
    (all | u64::from(rest)) & 0x8080_8080_8080_8080
}

/// At least 16 bytes. Steps are arrays of a fixed size, which need no alignment and compile to vector instructions.
fn apply_long(key: [u8; 4], turned: [u8; 4], bytes: &mut [u8]) {
    let last = bytes.last_chunk::<16>().map(|chunk| xor(*chunk, turned));
    let (blocks, rest) = bytes.as_chunks_mut::<LINE>();
    blocks.iter_mut().for_each(|block| *block = xor(*block, key));
    rest.as_chunks_mut::<16>().0.iter_mut().for_each(|step| *step = xor(*step, key));
    if let (Some(place), Some(last)) = (bytes.last_chunk_mut(), last) {
        *place = last;
    }
}

/// Word by word: with an index modulo four the compiler does not see that it may take many bytes at once. `N` is a multiple
/// of four.
#[inline(always)]
fn xor<const N: usize>(mut bytes: [u8; N], key: [u8; 4]) -> [u8; N] {
    let key = u32::from_ne_bytes(key);
    let twice = u64::from(key) << 32 | u64::from(key);
    let (words, half) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ twice).to_ne_bytes();
    }
    if let Some(half) = half.first_chunk_mut() {
        *half = (u32::from_ne_bytes(*half) ^ key).to_ne_bytes();
    }
    bytes
}

/// The key for what follows `len` bytes.
pub fn turn(key: [u8; 4], len: usize) -> [u8; 4] {
    // One instruction; turning the array would be three copies.
    u32::from_le_bytes(key).rotate_right((len % 4) as u32 * 8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 §5.3, octet by octet as written there.
    fn by_the_book(key: [u8; 4], bytes: &[u8]) -> Vec<u8> {
        bytes.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect()
    }

    #[test]
    fn whole_and_in_two_pieces_at_every_cut() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for len in (0..140).chain([511, 512, 513, 600]) {
            let plain: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let expected = by_the_book(key, &plain);
            for cut in 0..=len {
                let mut bytes = plain.clone();
                let (first, second) = bytes.split_at_mut(cut);
                apply(key, first);
                apply(turn(key, cut), second);
                assert_eq!(bytes, expected, "{len} bytes cut at {cut}");
            }
            let mut bytes = plain.clone();
            assert_eq!(apply_short(key, &mut bytes), expected.is_ascii(), "{len} bytes");
            assert_eq!(bytes, expected, "{len} bytes");
        }
    }

    #[test]
    fn one_byte_beyond_ascii_is_seen() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for len in 1..=125 {
            for (at, byte) in (0..len).flat_map(|at| [(at, 0x7f), (at, 0x80), (at, 0xff)]) {
                let mut bytes = vec![b'a'; len];
                bytes[at] = byte;
                let mut masked = by_the_book(key, &bytes);
                assert_eq!(apply_short(key, &mut masked), byte == 0x7f, "{byte} at {at} of {len}");
                assert_eq!(masked, bytes);
            }
        }
    }

    #[test]
    fn the_rfc_example() {
        // RFC 6455 §5.7: "Hello".
        let mut bytes = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        apply([0x37, 0xfa, 0x21, 0x3d], &mut bytes);
        assert_eq!(&bytes, b"Hello");
    }
}
