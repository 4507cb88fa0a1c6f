//! Masking: XOR with a repeated four-byte key, in place (RFC 6455 §5.3). Masking and unmasking are the same.
//!
//! Knows nothing of frames. Invariant: masking a payload piece by piece, turning the key by each piece's length, gives
//! what masking it whole gives.

/// Applies `key` to `bytes`, whose first byte meets `key[0]`.
pub fn apply(key: [u8; 4], bytes: &mut [u8]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        // The conversion cannot fail: chunks_exact_mut(8) yields eight bytes. The loop compiles to vector code.
        if let Ok(eight) = <&mut [u8; 8]>::try_from(word) {
            *eight = (u64::from_ne_bytes(*eight) ^ wide).to_ne_bytes();
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= key;
    }
}

/// The key for what follows `len` bytes.
pub fn turn(key: [u8; 4], len: usize) -> [u8; 4] {
    let mut turned = key;
    turned.rotate_left(len % 4);
    turned
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
        for len in (0..70).chain([125, 1000]) {
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
