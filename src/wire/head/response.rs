//! The head of a response: written for our peers, parsed for the client role.
//!
//! Refuses to know what is answered and why. Invariant: whatever the application supplies, one head is
//! written, its fields stay within their lines, and the framing is ours alone. RFC 9112 §4, RFC 9110 §15.

use std::io::Write as _;

use super::valid_header;
#[cfg(any(test, feature = "client"))]
use super::{Fields, HeadError, HeadLimits, Version, fields::decimal, fields::split_line};

/// A response head that has been checked.
#[cfg(any(test, feature = "client"))]
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'b, 'h> {
    /// The version.
    pub version: Version,
    /// The status code, 100 to 999.
    pub status: u16,
    /// The header fields in order.
    pub headers: &'h [httparse::Header<'b>],
}

#[cfg(any(test, feature = "client"))]
impl<'b, 'h> ResponseHead<'b, 'h> {
    /// The header fields with the methods that search them.
    pub fn fields(&self) -> Fields<'b, 'h> {
        Fields(self.headers)
    }
}

/// Parses one response head that a [`super::HeadScanner`] has found.
///
/// # Errors
///
/// The first rule that the head breaks.
#[cfg(any(test, feature = "client"))]
pub fn parse_response<'b, 'h>(
    head: &'b [u8],
    storage: &'h mut [httparse::Header<'b>],
    limits: &HeadLimits,
) -> Result<ResponseHead<'b, 'h>, HeadError> {
    let (line, fields) = split_line(head).ok_or(HeadError::NotOneHead)?;
    let (version, rest) = line.split_at_checked(8).ok_or(HeadError::BadStatusLine)?;
    let version = match Version::parse(version) {
        Err(HeadError::BadVersion) => return Err(HeadError::BadStatusLine),
        version => version?,
    };
    // RFC 9112 §4: the reason may be empty; servers that leave out its space as well are common.
    let Some((code, reason)) = rest.strip_prefix(b" ").and_then(|rest| rest.split_at_checked(3)) else {
        return Err(HeadError::BadStatusLine);
    };
    if !reason.is_empty() && !reason.starts_with(b" ") {
        return Err(HeadError::BadStatusLine);
    }
    if reason.iter().any(|&b| b.is_ascii_control() && b != b'\t') {
        return Err(HeadError::BadStatusLine);
    }
    let status = decimal(code).and_then(|code| u16::try_from(code).ok()).filter(|&code| code >= 100);
    let status = status.ok_or(HeadError::BadStatusLine)?;
    let fields = Fields::parse(fields, storage, limits.headers_max)?;
    Ok(ResponseHead { version, status, headers: fields.0 })
}

/// How the end of a response body will be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes follow.
    Length(u64),
    /// Chunks follow; not for an HTTP/1.0 peer.
    Chunked,
    /// The connection's end is the body's end; goes with [`Persist::Close`].
    UntilClose,
}

/// What a response says about the connection's future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persist {
    /// Nothing; an HTTP/1.1 peer takes it as open.
    Default,
    /// It stays open; said to an HTTP/1.0 peer that asked for it.
    KeepAlive,
    /// It ends after this response.
    Close,
}

/// Appends a response head.
///
/// A field that is malformed, or whose name is one of those written here, is left out: check with
/// [`valid_header`] where the application hands it in. A 426 names the upgrade that is wanted.
pub fn write_response_head<'a>(
    out: &mut Vec<u8>,
    status: u16,
    framing: Framing,
    persist: Persist,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    write_to(out, format_args!("HTTP/1.1 {status:03} {}\r\n", reason(status)));
    let upgrade_required = status == 426;
    // RFC 9110 §15.5.22 and §7.8: a 426 must name the protocol, and the option that makes it hop-by-hop.
    let connection = match (persist, upgrade_required) {
        (Persist::Default, false) => "",
        (Persist::KeepAlive, false) => "Connection: keep-alive\r\n",
        (Persist::Close, false) => "Connection: close\r\n",
        (Persist::Default, true) => "Connection: Upgrade\r\n",
        (Persist::KeepAlive, true) => "Connection: keep-alive, Upgrade\r\n",
        (Persist::Close, true) => "Connection: close, Upgrade\r\n",
    };
    out.extend_from_slice(connection.as_bytes());
    if upgrade_required {
        // RFC 6455 §4.4
        out.extend_from_slice(b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
    }
    // RFC 9110 §8.6, RFC 9112 §6.1: these statuses have no body and no length. A 304 might give the
    // length of what it stands for, which is not known here.
    if !matches!(status, 100..=199 | 204 | 304) {
        match framing {
            Framing::Length(length) => write_to(out, format_args!("Content-Length: {length}\r\n")),
            Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Framing::UntilClose => {}
        }
    }
    let own: &[&str] = if upgrade_required {
        &["connection", "content-length", "transfer-encoding", "upgrade", "sec-websocket-version"]
    } else {
        &["connection", "content-length", "transfer-encoding"]
    };
    write_fields(out, own, headers);
    out.extend_from_slice(b"\r\n");
}

/// Appends the fields that are well formed and whose names are not in `own`, without the empty line.
pub fn write_fields<'a>(
    out: &mut Vec<u8>,
    own: &[&str],
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    for (name, value) in headers {
        if valid_header(name, value) && !own.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            for part in [name, ": ", value, "\r\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
}

fn write_to(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a `Vec` has no failure to report.
    let _ = out.write_fmt(text);
}

/// The reason phrase of a common status, empty for others (RFC 9110 §15).
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
