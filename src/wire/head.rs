//! The head of an HTTP/1.1 message: where it ends, and what was wrong with it.
//!
//! Refuses to know what a request is for, how long it may take, and how its bytes are kept. Invariant:
//! a byte is looked at once however the head is cut, and no head outgrows [`HeadLimits`]. RFC 9112, RFC 9110.

mod fields;
mod request;
mod response;
#[cfg(test)]
mod tests;

use std::fmt;

pub use fields::{Duplicate, Fields, is_token, is_token_byte, valid_header, valid_host};
pub use request::{BodyLength, RequestHead, Version, parse_request};
pub use response::{Framing, Persist, write_fields, write_response_head};
#[cfg(any(test, feature = "client"))]
pub use response::{ResponseHead, parse_response};

/// Bytes of a method. Every method in the IANA registry is shorter.
pub const METHOD_MAX: usize = 32;

/// Bytes of empty lines that may stand before a request line.
pub const LEADING_MAX: usize = 8;

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head, final empty line included.
    pub head_max: usize,
    /// Bytes of the request target.
    pub target_max: usize,
    /// Number of header fields.
    pub headers_max: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Empty lines before the request line.
    #[default]
    Before,
    /// CR of such an empty line.
    BeforeCr,
    /// First byte of what may be a TLS record.
    Tls,
    Method,
    Target,
    /// Anywhere else in a line.
    Line,
    /// CR at the end of a line with content.
    Cr,
    /// Nothing of this line seen yet.
    LineStart,
    /// CR of the empty line that ends the head.
    EndCr,
    Done,
}

/// Finds the end of a head in bytes that arrive in any cuts.
///
/// Made by `default` for a request and by [`HeadScanner::response`] for a response. An error stays: the
/// same call gives it again.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScanner {
    /// Bytes looked at so far.
    scanned: usize,
    /// Where the method or the target begins.
    mark: usize,
    state: State,
}

impl HeadScanner {
    /// A scanner for the head of a response, whose first line has no rules of its own here.
    #[cfg(any(test, feature = "client"))]
    pub fn response() -> Self {
        Self { state: State::Line, ..Self::default() }
    }

    /// Looks at what is new in `bytes`, which are all bytes of the head so far.
    ///
    /// Returns the length of the head with its final empty line, or `None` while it is incomplete.
    ///
    /// # Errors
    ///
    /// As soon as the bytes cannot become a head any more, or outgrow a limit.
    pub fn scan(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        if self.state == State::Done {
            return Ok(Some(self.scanned));
        }
        let within = &bytes[..bytes.len().min(limits.head_max)];
        loop {
            if self.state == State::Line {
                // Most of a head: nothing in it matters up to the end of the line.
                self.scanned += plain(within.get(self.scanned..).unwrap_or_default());
            }
            match within.get(self.scanned) {
                Some(&byte) => self.state = self.step(byte, limits)?,
                None if bytes.len() > self.scanned => return Err(HeadError::HeadTooLarge),
                None => return Ok(None),
            }
            self.scanned += 1;
            if self.state == State::Done {
                return Ok(Some(self.scanned));
            }
        }
    }

    fn step(&mut self, byte: u8, limits: &HeadLimits) -> Result<State, HeadError> {
        use State::*;
        Ok(match (self.state, byte) {
            (_, 0) => return Err(HeadError::NulByte),
            // RFC 8446 §5.1: a handshake record opens with type 22 and the legacy major version 3.
            (Before, 0x16) if self.scanned == 0 => Tls,
            (Tls, 0x03) => return Err(HeadError::TlsOnPlainPort),
            // RFC 9112 §2.2: ignore at least one empty line before the request line.
            (Before, b'\r') if self.scanned < LEADING_MAX => BeforeCr,
            (BeforeCr, b'\n') => Before,
            (Before, b) if is_token_byte(b) => {
                self.mark = self.scanned;
                Method
            }
            (Method, b' ') => {
                self.mark = self.scanned + 1;
                Target
            }
            (Method, b) if is_token_byte(b) => {
                if self.scanned - self.mark >= METHOD_MAX {
                    return Err(HeadError::MethodTooLong);
                }
                Method
            }
            (LineStart, b'\r') => EndCr,
            (LineStart, b' ' | b'\t') => return Err(HeadError::FoldedLine),
            (Target, b' ') => Line,
            (Target | Line, b'\r') => Cr,
            (Cr, b'\n') => LineStart,
            (EndCr, b'\n') => Done,
            (BeforeCr | Cr | EndCr, _) => return Err(HeadError::BareCr),
            // RFC 9112 §2.2 lets a recipient take a bare LF as a line end; parsers that differ on it
            // are how requests get smuggled.
            (_, b'\n') => return Err(HeadError::BareLf),
            (Before | Tls | Method, _) => return Err(HeadError::BadRequestLine),
            (Target, _) if self.scanned - self.mark >= limits.target_max => {
                return Err(HeadError::TargetTooLong);
            }
            (Target, _) => Target,
            (Line | LineStart | Done, _) => Line,
        })
    }
}

/// Number of bytes up to the first CR, LF or NUL.
fn plain(bytes: &[u8]) -> usize {
    let special = |byte: &u8| matches!(byte, 0 | b'\r' | b'\n');
    let mut start = 0;
    // Without an early exit, sixteen are compared at once.
    for chunk in bytes.as_chunks::<16>().0 {
        if chunk.iter().fold(false, |any, byte| any | special(byte)) {
            break;
        }
        start += chunk.len();
    }
    let rest = &bytes[start..];
    start + rest.iter().position(special).unwrap_or(rest.len())
}

/// What is wrong with a head, one variant per rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// A TLS client hello where plain HTTP is spoken (RFC 8446 §5.1).
    TlsOnPlainPort,
    /// The request line is not method, target and version with one space between them (RFC 9112 §3).
    BadRequestLine,
    /// The method is longer than any that exists (RFC 9112 §3).
    MethodTooLong,
    /// The target is longer than the limit (RFC 9112 §3, RFC 9110 §15.5.15).
    TargetTooLong,
    /// The head is longer than the limit (RFC 6585 §5).
    HeadTooLarge,
    /// More header fields than the limit (RFC 6585 §5).
    TooManyHeaders,
    /// A line ends with LF alone (RFC 9112 §2.2).
    BareLf,
    /// A CR without LF (RFC 9112 §2.2).
    BareCr,
    /// A NUL byte (RFC 9110 §5.5).
    NulByte,
    /// A line that starts with white space (RFC 9112 §5.2 and §2.2).
    FoldedLine,
    /// The bytes are not exactly one head (RFC 9112 §2.1).
    NotOneHead,
    /// The target has none of the four forms, or one that does not go with the method (RFC 9112 §3.2).
    BadTarget,
    /// The target has a fragment, which never goes over the wire (RFC 9110 §7.1).
    FragmentInTarget,
    /// `CONNECT` asks for a tunnel (RFC 9110 §9.3.6).
    ConnectUnsupported,
    /// The version is not `HTTP/digit.digit` (RFC 9112 §2.3).
    BadVersion,
    /// The major version is not 1 (RFC 9110 §15.6.6).
    VersionUnsupported,
    /// The status line of a response is malformed (RFC 9112 §4).
    BadStatusLine,
    /// A header name is not a token with the colon right behind it (RFC 9112 §5.1).
    BadHeaderName,
    /// A header value holds control bytes (RFC 9110 §5.5).
    BadHeaderValue,
    /// An HTTP/1.1 request without `Host` (RFC 9112 §3.2).
    HostMissing,
    /// More than one `Host` (RFC 9112 §3.2).
    HostRepeated,
    /// `Host` is not a host with an optional port (RFC 9110 §7.2).
    BadHost,
    /// More than one `Content-Length`, even if they agree (RFC 9112 §6.3).
    ContentLengthRepeated,
    /// `Content-Length` is not one decimal number of 64 bits (RFC 9110 §8.6).
    BadContentLength,
    /// `Content-Length` and `Transfer-Encoding` together (RFC 9112 §6.1).
    TwoLengths,
    /// `Transfer-Encoding` in an HTTP/1.0 request (RFC 9112 §6.1).
    TransferEncodingInOldVersion,
    /// The last transfer coding is not `chunked`, so the body has no end (RFC 9112 §6.3).
    ChunkedNotLast,
    /// A transfer coding besides `chunked` (RFC 9112 §6.1).
    TransferCodingUnsupported,
}

impl HeadError {
    /// The status that answers a request with this fault; 502 for faults that only a response has.
    pub fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::HeadTooLarge | Self::TooManyHeaders => 431,
            Self::MethodTooLong | Self::ConnectUnsupported | Self::TransferCodingUnsupported => 501,
            Self::BadStatusLine => 502,
            Self::VersionUnsupported => 505,
            _ => 400,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TlsOnPlainPort => "this port speaks plain HTTP, not TLS",
            Self::BadRequestLine => "malformed request line",
            Self::MethodTooLong => "method too long",
            Self::TargetTooLong => "request target too long",
            Self::HeadTooLarge => "head too large",
            Self::TooManyHeaders => "too many header fields",
            Self::BareLf => "line feed without carriage return",
            Self::BareCr => "carriage return without line feed",
            Self::NulByte => "NUL byte in the head",
            Self::FoldedLine => "header line starts with white space",
            Self::NotOneHead => "not exactly one head",
            Self::BadTarget => "malformed request target",
            Self::FragmentInTarget => "fragment in the request target",
            Self::ConnectUnsupported => "CONNECT is not supported",
            Self::BadVersion => "malformed HTTP version",
            Self::VersionUnsupported => "HTTP version not supported",
            Self::BadStatusLine => "malformed status line",
            Self::BadHeaderName => "malformed header name",
            Self::BadHeaderValue => "malformed header value",
            Self::HostMissing => "Host is missing",
            Self::HostRepeated => "Host is repeated",
            Self::BadHost => "malformed Host",
            Self::ContentLengthRepeated => "Content-Length is repeated",
            Self::BadContentLength => "malformed Content-Length",
            Self::TwoLengths => "both Content-Length and Transfer-Encoding",
            Self::TransferEncodingInOldVersion => "Transfer-Encoding in HTTP/1.0",
            Self::ChunkedNotLast => "chunked is not the last transfer coding",
            Self::TransferCodingUnsupported => "transfer coding not supported",
        })
    }
}

impl std::error::Error for HeadError {}
