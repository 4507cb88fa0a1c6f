//! UTF-8 checked as it arrives (RFC 3629; RFC 6455 §8.1 demands it of text messages and close reasons).
//!
//! Knows nothing of messages. Invariant: the verdict does not depend on how the bytes are cut, and bad text is
//! refused with the piece that holds the first byte no valid text could continue with.

use std::str::from_utf8;

/// Texts shorter than this gain nothing from vector instructions, and most of them are plain ASCII.
const SHORT: usize = 64;

/// The bytes so far cannot be the beginning of any UTF-8 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadUtf8;

/// True when `bytes` are a whole text.
pub fn is_text(bytes: &[u8]) -> bool {
    bytes.len() < SHORT && bytes.is_ascii() || simdutf8::basic::from_utf8(bytes).is_ok()
}

/// Length of the character at the end of `bytes` that has begun and is not complete: at most three bytes. Whether it has
/// begun well is not looked at.
fn unfinished(bytes: &[u8]) -> usize {
    for (i, &byte) in bytes.iter().rev().take(3).enumerate() {
        let len = match byte {
            0x80..=0xbf => continue,
            0x00..=0x7f => 1,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
        };
        return if i + 1 < len { i + 1 } else { 0 };
    }
    0
}

/// Remembers the unfinished character at the end of what it has seen: at most three bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utf8Check {
    partial: [u8; 4],
    len: u8,
}

impl Utf8Check {
    /// Checks the next piece.
    pub fn piece(&mut self, mut bytes: &[u8]) -> Result<(), BadUtf8> {
        while self.len > 0 {
            let Some((&first, rest)) = bytes.split_first() else { return Ok(()) };
            self.partial[usize::from(self.len)] = first;
            self.len += 1;
            bytes = rest;
            match from_utf8(&self.partial[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return Err(BadUtf8),
                Err(_) => {}
            }
        }
        let (whole, rest) = bytes.split_at(bytes.len() - unfinished(bytes));
        if !is_text(whole) {
            return Err(BadUtf8);
        }
        if !rest.is_empty() {
            // It may have begun so badly that nothing can save it: that is to be said now.
            if from_utf8(rest).is_err_and(|error| error.error_len().is_some()) {
                return Err(BadUtf8);
            }
            self.partial[..rest.len()].copy_from_slice(rest);
            self.len = rest.len() as u8;
        }
        Ok(())
    }

    /// True when no character is unfinished, so that the text may end here.
    pub fn is_complete(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_text_is_valid_however_it_is_cut() {
        let text = "aé€𝄞\u{0}\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}z".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut check = Utf8Check::default();
                for piece in [&text[..first], &text[first..second], &text[second..]] {
                    check.piece(piece).unwrap();
                }
                assert!(check.is_complete());
            }
        }
    }

    #[test]
    fn bad_text_fails_at_its_first_bad_byte() {
        let cases: &[(&[u8], usize)] = &[
            (b"\x80", 0),             // continuation without a start
            (b"ab\xc0\x80", 2),       // overlong
            (b"\xe0\x9f\xbf", 1),     // overlong, three bytes
            (b"\xf0\x8f\xbf\xbf", 1), // overlong, four bytes
            (b"\xed\xa0\x80", 1),     // surrogate
            (b"\xf4\x90\x80\x80", 1), // above U+10FFFF
            (b"\xf5\x80\x80\x80", 0), // no such start
            (b"\xe2\x82\x41", 2),     // cut short by ASCII
            (b"\xce\xba\xe1\xbd\xb9\xfe", 5),
        ];
        for (bytes, bad) in cases {
            let mut check = Utf8Check::default();
            let failed = bytes.iter().position(|byte| check.piece(std::slice::from_ref(byte)).is_err());
            assert_eq!(failed, Some(*bad), "{bytes:x?}");
            assert!(Utf8Check::default().piece(bytes).is_err());
            assert!(Utf8Check::default().piece(&bytes[..*bad]).is_ok());
        }
    }

    #[test]
    fn long_text_is_judged_as_the_standard_library_judges_it() {
        let text = "plain, простой, €, 𝄞; ".repeat(12);
        for len in 0..=text.len() {
            // Whole, cut inside a character at the end or at the beginning, and with one bad byte.
            let mut bytes = text.as_bytes()[..len].to_vec();
            for start in 0..len.min(4) {
                let piece = &bytes[start..];
                let verdict = from_utf8(piece);
                assert_eq!(is_text(piece), verdict.is_ok(), "{piece:x?}");
                let mut check = Utf8Check::default();
                let good = verdict.err().is_none_or(|error| error.error_len().is_none());
                assert_eq!(check.piece(piece).is_ok(), good, "{piece:x?}");
                assert!(!good || check.is_complete() == verdict.is_ok(), "{piece:x?}");
            }
            if let Some(byte) = bytes.get_mut(len / 2) {
                *byte = 0xff;
                assert!(!is_text(&bytes) && Utf8Check::default().piece(&bytes).is_err(), "{bytes:x?}");
            }
        }
    }

    #[test]
    fn an_unfinished_character_is_not_complete() {
        let mut check = Utf8Check::default();
        check.piece(b"\xf0\x9d").unwrap();
        assert!(!check.is_complete());
        check.piece(b"\x84\x9e").unwrap();
        assert!(check.is_complete());
    }
}
