//! Masking: XOR with a repeated four-byte key, in place (RFC 6455 §5.3). Masking and unmasking are the same.
//!
//! Knows nothing of frames. Invariant: masking a payload piece by piece, turning the key by each piece's length, gives
//! what masking it whole gives.

/// Applies `key` to `bytes`, whose first byte meets `key[0]`.
///
/// No loop handles single bytes, but for three at most. What the wide steps leave over at the end is masked by one more
/// of them that covers bytes twice: what they are to be is taken before anything is masked, and written last.
pub fn apply(key: [u8; 4], bytes: &mut [u8]) {
    let turned = turn(key, bytes.len());
    match bytes.len() {
        0..4 => bytes.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key),
        4..8 => apply_ends::<4>(key, turned, bytes),
        8..16 => apply_ends::<8>(key, turned, bytes),
        16..=32 => apply_ends::<16>(key, turned, bytes),
        _ => apply_long(key, turned, bytes),
    }
}

/// At least `N` bytes, at most twice as many. `N` is a multiple of the key's four.
#[inline(always)]
fn apply_ends<const N: usize>(key: [u8; 4], turned: [u8; 4], bytes: &mut [u8]) {
    let first = bytes.first_chunk::<N>().map(|chunk| xor(*chunk, key));
    let last = bytes.last_chunk::<N>().map(|chunk| xor(*chunk, turned));
    if let (Some(place), Some(first)) = (bytes.first_chunk_mut(), first) {
        *place = first;
    }
    if let (Some(place), Some(last)) = (bytes.last_chunk_mut(), last) {
        *place = last;
    }
}

/// At least 16 bytes. Steps are arrays of a fixed size, which need no alignment and compile to vector instructions.
fn apply_long(key: [u8; 4], turned: [u8; 4], bytes: &mut [u8]) {
    let last = bytes.last_chunk::<16>().map(|chunk| xor(*chunk, turned));
    let (blocks, rest) = bytes.as_chunks_mut::<64>();
    blocks.iter_mut().for_each(|block| *block = xor(*block, key));
    rest.as_chunks_mut::<16>().0.iter_mut().for_each(|step| *step = xor(*step, key));
    if let (Some(place), Some(last)) = (bytes.last_chunk_mut(), last) {
        *place = last;
    }
}

/// Word by word: with an index modulo four the compiler does not see that it may take many bytes at once.
#[inline(always)]
fn xor<const N: usize>(mut bytes: [u8; N], key: [u8; 4]) -> [u8; N] {
    let key = u32::from_ne_bytes(key);
    for word in bytes.as_chunks_mut::<4>().0 {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
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
        for len in (0..140).chain([1000]) {
            let plain: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let expected = by_the_book(key, &plain);
            for cut in 0..=len {
                let mut bytes = plain.clone();
                let (first, second) = bytes.split_at_mut(cut);
                apply(key, first);
                apply(turn(key, cut), second);
                assert_eq!(bytes, expected, "{len} bytes cut at {cut}");
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
