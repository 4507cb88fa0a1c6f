//! Header fields of a parsed head: finding them, and which names, values and hosts are well formed.
//!
//! Refuses to know what any field means. Invariant: names compare in any case, and a field that comes
//! in several lines reads as one list. RFC 9110 §5.

use httparse::Header;

use super::HeadError;

/// A field that may stand once only stood several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate;

/// The header fields of one head.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'b, 'h>(pub &'h [Header<'b>]);

impl<'b, 'h> Fields<'b, 'h> {
    /// Parses field lines with the empty line behind them, which must be all of `bytes`.
    pub(super) fn parse(
        bytes: &'b [u8],
        storage: &'h mut [Header<'b>],
        headers_max: usize,
    ) -> Result<Self, HeadError> {
        let room = storage.len().min(headers_max);
        let storage = storage.get_mut(..room).unwrap_or_default();
        match httparse::parse_headers(bytes, storage) {
            Ok(httparse::Status::Complete((used, headers))) if used == bytes.len() => Ok(Self(headers)),
            Ok(_) => Err(HeadError::NotOneHead),
            Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooManyHeaders),
            Err(httparse::Error::HeaderValue) => Err(HeadError::BadHeaderValue),
            Err(_) => Err(HeadError::BadHeaderName),
        }
    }

    /// The values of all lines with this name, in order.
    pub fn lines<'n>(self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + Clone + use<'b, 'h, 'n> {
        self.0.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
    }

    /// The elements of a list field over all its lines, without white space and without empty ones.
    pub fn elements<'n>(self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + Clone + use<'b, 'h, 'n> {
        // RFC 9110 §5.6.1.2: empty elements do not count. Control bytes besides HTAB were refused, so
        // `trim_ascii` takes off optional white space and nothing else.
        self.lines(name)
            .flat_map(|line| line.split(|&b| b == b',').map(<[u8]>::trim_ascii))
            .filter(|element| !element.is_empty())
    }

    /// The value of a field that may stand once at most.
    pub fn single(self, name: &str) -> Result<Option<&'b [u8]>, Duplicate> {
        let mut lines = self.lines(name);
        let first = lines.next();
        if lines.next().is_some() { Err(Duplicate) } else { Ok(first) }
    }

    /// Whether the list field holds this token, in any case.
    pub fn has_token(self, name: &str, token: &str) -> bool {
        self.elements(name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }
}

/// Whether the byte may stand in a token (RFC 9110 §5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether the bytes are a token (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_token_byte(b))
}

/// Whether a field is safe to write: the name a token, the value without control bytes besides HTAB
/// (RFC 9110 §5.1 and §5.5). Nothing that passes can end a line.
pub fn valid_header(name: &str, value: &str) -> bool {
    is_token(name.as_bytes()) && value.bytes().all(|b| b == b'\t' || !b.is_ascii_control())
}

/// Whether the bytes are a host with an optional port, or empty (RFC 9110 §7.2, RFC 3986 §3.2).
pub fn valid_host(bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let (host_is_valid, rest) = if let Some(inner) = bytes.strip_prefix(b"[") {
        let end = inner.iter().position(|&b| b == b']').unwrap_or(inner.len());
        let (literal, rest) = inner.split_at(end);
        let is_literal = literal.contains(&b':')
            && literal.iter().all(|&b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
        (is_literal && !rest.is_empty(), rest.get(1..).unwrap_or_default())
    } else {
        let (name, rest) = bytes.split_at(bytes.iter().position(|&b| b == b':').unwrap_or(bytes.len()));
        (!name.is_empty() && name.iter().all(|&b| is_name_byte(b)), rest)
    };
    host_is_valid
        && match rest.strip_prefix(b":") {
            None => rest.is_empty(),
            // RFC 3986 §3.2.3: a port may be empty.
            Some(port) => port.len() <= 5 && decimal(port).is_none_or(|port| port <= 65_535) && digits(port),
        }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte)
}

fn digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

/// The value of decimal digits; `None` for anything else and for more than 64 bits.
pub(super) fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || !digits(bytes) {
        return None;
    }
    bytes.iter().try_fold(0u64, |sum, &b| sum.checked_mul(10)?.checked_add(u64::from(b - b'0')))
}

/// The first line without its CRLF, and what follows.
pub(super) fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((bytes.get(..end)?, bytes.get(end + 2..)?))
}
