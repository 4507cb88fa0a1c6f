//! Close codes and the payload of a Close frame (RFC 6455 §5.5.1, §7.4; the IANA registry of close codes).
//!
//! Knows no connection. Invariant: what [`parse`] accepts may be answered, and what [`payload`] writes is legal.

use super::frame::{CONTROL_MAX, FrameError};

/// Normal closure.
pub const NORMAL: u16 = 1000;
/// The endpoint is going away: shutting down, or the connection was idle.
pub const GOING_AWAY: u16 = 1001;
/// A protocol error.
pub const PROTOCOL: u16 = 1002;
/// Data that is not what its type says, such as text that is not UTF-8.
pub const BAD_DATA: u16 = 1007;
/// A policy that has no code of its own.
pub const POLICY: u16 = 1008;
/// A message too big to be taken.
pub const TOO_BIG: u16 = 1009;

/// Longest reason, in bytes: a control frame's payload less the code (RFC 6455 §5.5).
pub const REASON_MAX: usize = CONTROL_MAX - 2;

/// True for the codes that may stand in a Close frame, in either direction. 1004, 1005, 1006 and 1015 are reserved
/// for use inside an endpoint (§7.4.1); below 1000 nothing is used and 1016 to 2999 are not yet assigned (§7.4.2).
pub fn is_legal(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Splits the payload of a Close frame into code and reason.
pub fn parse(payload: &[u8]) -> Result<(Option<u16>, &str), FrameError> {
    // RFC 6455 §5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer".
    let (code, reason) = match payload {
        [] => return Ok((None, "")),
        [_] => return Err(FrameError::CloseTooShort),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !is_legal(code) {
        return Err(FrameError::CloseCode);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| FrameError::CloseReason)?;
    Ok((Some(code), reason))
}

/// What is sent for this code and reason: a reason that is too long is cut at a character's boundary; a code that must
/// not be sent becomes 1000.
pub fn sent(code: u16, reason: &str) -> (u16, &str) {
    let code = if is_legal(code) { code } else { NORMAL };
    (code, &reason[..reason.floor_char_boundary(REASON_MAX)])
}

/// The payload of a Close frame, made legal by [`sent`].
pub fn payload(code: u16, reason: &str) -> ([u8; CONTROL_MAX], usize) {
    let (code, reason) = sent(code, reason);
    let mut bytes = [0; CONTROL_MAX];
    bytes[..2].copy_from_slice(&code.to_be_bytes());
    bytes[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    (bytes, 2 + reason.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_codes_are_legal() {
        let legal: Vec<u16> = (0..=u16::MAX).filter(|&code| is_legal(code)).collect();
        let expected: Vec<u16> = (1000..=1003).chain(1007..=1014).chain(3000..=4999).collect();
        assert_eq!(legal, expected);
    }

    #[test]
    fn payloads_legal_and_illegal() {
        type Parsed<'a> = Result<(Option<u16>, &'a str), FrameError>;
        let cases: &[(&[u8], Parsed<'_>)] = &[
            (b"", Ok((None, ""))),
            (b"\x03\xe8", Ok((Some(1000), ""))),
            (b"\x03\xe8bye", Ok((Some(1000), "bye"))),
            (b"\x13\x87", Ok((Some(4999), ""))),
            (b"\x03", Err(FrameError::CloseTooShort)),
            (b"\x03\xe7", Err(FrameError::CloseCode)),
            (b"\x03\xec", Err(FrameError::CloseCode)),
            (b"\x03\xed", Err(FrameError::CloseCode)),
            (b"\x03\xee", Err(FrameError::CloseCode)),
            (b"\x03\xf7", Err(FrameError::CloseCode)),
            (b"\x13\x88", Err(FrameError::CloseCode)),
            (b"\x03\xe8\xff", Err(FrameError::CloseReason)),
            (b"\x03\xe8\xc3", Err(FrameError::CloseReason)),
        ];
        for (payload, expected) in cases {
            assert_eq!(parse(payload), *expected, "{payload:x?}");
        }
    }

    #[test]
    fn what_is_written_is_legal() {
        for (code, reason) in
            [(1000, ""), (1005, "x"), (0, ""), (4000, &"é".repeat(100)), (1001, &"a".repeat(200))]
        {
            let (bytes, len) = payload(code, reason);
            let (parsed, text) = parse(&bytes[..len]).unwrap();
            assert!(is_legal(parsed.unwrap()));
            assert!(reason.starts_with(text) && len <= CONTROL_MAX);
        }
        assert_eq!(payload(1000, &"é".repeat(100)).1, 2 + 122, "cut before the character that does not fit");
    }
}
