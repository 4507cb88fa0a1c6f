//! The head of a request: method, target, version, fields, and how long the body is.
//!
//! Refuses to know what the request is for. Invariant: what parses here has one reading only; every
//! form on which two servers could differ is refused. RFC 9112 §3 and §6, RFC 9110 §7.

use httparse::Header;

use super::fields::{decimal, split_line};
use super::{Duplicate, Fields, HeadError, HeadLimits, is_token, valid_host};

/// The version of a message. A minor version above 1 reads as 1.1 (RFC 9110 §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Version {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        // RFC 9112 §2.3: the name is case-sensitive.
        match bytes.strip_prefix(b"HTTP/") {
            Some(b"1.0") => Ok(Self::Http10),
            Some([b'1', b'.', minor]) if minor.is_ascii_digit() => Ok(Self::Http11),
            Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit() => {
                Err(HeadError::VersionUnsupported)
            }
            _ => Err(HeadError::BadVersion),
        }
    }
}

/// How the end of a request body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body.
    None,
    /// This many bytes.
    Length(u64),
    /// In chunks; the last one is empty.
    Chunked,
}

/// A request head that has been checked.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'b, 'h> {
    /// The method, a token; case counts.
    pub method: &'b str,
    /// The target as it was sent.
    pub target: &'b str,
    /// The version.
    pub version: Version,
    /// The header fields in order.
    pub headers: &'h [Header<'b>],
}

/// Parses one head that a [`super::HeadScanner`] has found.
///
/// The scanner is what refuses bare LF; bytes that it has not seen must not come here.
///
/// # Errors
///
/// The first rule that the head breaks.
pub fn parse_request<'b, 'h>(
    head: &'b [u8],
    storage: &'h mut [Header<'b>],
    limits: &HeadLimits,
) -> Result<RequestHead<'b, 'h>, HeadError> {
    let mut head = head;
    while let Some(rest) = head.strip_prefix(b"\r\n") {
        head = rest;
    }
    let (line, fields) = split_line(head).ok_or(HeadError::NotOneHead)?;
    let mut parts = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::BadRequestLine);
    };
    if !is_token(method) || target.is_empty() {
        return Err(HeadError::BadRequestLine);
    }
    let method = str::from_utf8(method).map_err(|_| HeadError::BadRequestLine)?;
    if target.len() > limits.target_max {
        return Err(HeadError::TargetTooLong);
    }
    let version = Version::parse(version)?;
    let target = check_target(method, target)?;
    let fields = Fields::parse(fields, storage, limits.headers_max)?;
    let head = RequestHead { method, target, version, headers: fields.0 };
    head.check_host()?;
    Ok(head)
}

// RFC 9112 §3.2
fn check_target<'b>(method: &str, target: &'b [u8]) -> Result<&'b str, HeadError> {
    if method == "CONNECT" {
        return Err(HeadError::ConnectUnsupported);
    }
    if target.contains(&b'#') {
        return Err(HeadError::FragmentInTarget);
    }
    if !target.iter().all(u8::is_ascii_graphic) {
        return Err(HeadError::BadTarget);
    }
    let target = str::from_utf8(target).map_err(|_| HeadError::BadTarget)?;
    let allowed = match split_absolute(target) {
        Some((authority, _)) => !authority.is_empty() && valid_host(authority.as_bytes()),
        None => target.starts_with('/') || (target == "*" && method == "OPTIONS"),
    };
    if allowed { Ok(target) } else { Err(HeadError::BadTarget) }
}

/// Authority and the rest of a target in absolute form.
fn split_absolute(target: &str) -> Option<(&str, &str)> {
    let scheme = |name: &str| {
        let (start, rest) = target.split_at_checked(name.len())?;
        start.eq_ignore_ascii_case(name).then_some(rest)
    };
    let rest = scheme("http://").or_else(|| scheme("https://"))?;
    Some(rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())))
}

impl<'b, 'h> RequestHead<'b, 'h> {
    /// The header fields with the methods that search them.
    pub fn fields(&self) -> Fields<'b, 'h> {
        Fields(self.headers)
    }

    /// The values of all lines with this name, in order.
    pub fn header_lines<'n>(
        &self,
        name: &'n str,
    ) -> impl Iterator<Item = &'b [u8]> + Clone + use<'b, 'h, 'n> {
        self.fields().lines(name)
    }

    /// The value of a field that may stand once at most.
    pub fn single(&self, name: &str) -> Result<Option<&'b [u8]>, Duplicate> {
        self.fields().single(name)
    }

    /// Whether the list field holds this token, in any case and over all its lines.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.fields().has_token(name, token)
    }

    /// The path, still percent-encoded; `*` for the asterisk form.
    pub fn path(&self) -> &'b str {
        let resource = self.resource();
        match resource.split_once('?').map_or(resource, |(path, _)| path) {
            // RFC 9110 §4.2.3: an empty path is the root.
            "" => "/",
            path => path,
        }
    }

    /// What follows the first `?` of the target.
    pub fn query(&self) -> Option<&'b str> {
        self.resource().split_once('?').map(|(_, query)| query)
    }

    /// The host that is asked: that of the target if it has one, else that of `Host`.
    pub fn host(&self) -> Option<&'b [u8]> {
        // RFC 9112 §3.2.2: the absolute form goes before Host.
        match split_absolute(self.target) {
            Some((authority, _)) => Some(authority.as_bytes()),
            None => self.header_lines("host").next(),
        }
    }

    fn resource(&self) -> &'b str {
        split_absolute(self.target).map_or(self.target, |(_, rest)| rest)
    }

    // RFC 9112 §3.2
    fn check_host(&self) -> Result<(), HeadError> {
        match self.single("host") {
            Err(Duplicate) => Err(HeadError::HostRepeated),
            Ok(None) if self.version >= Version::Http11 => Err(HeadError::HostMissing),
            Ok(Some(host)) if !valid_host(host) => Err(HeadError::BadHost),
            Ok(_) => Ok(()),
        }
    }

    /// How the end of the body is found.
    ///
    /// # Errors
    ///
    /// When the fields contradict each other or ask for a coding that is not known here. The
    /// connection cannot be used after that.
    pub fn body_length(&self) -> Result<BodyLength, HeadError> {
        let length = self.single("content-length").map_err(|Duplicate| HeadError::ContentLengthRepeated)?;
        if self.header_lines("transfer-encoding").next().is_none() {
            return match length {
                None => Ok(BodyLength::None),
                Some(value) => decimal(value).map(BodyLength::Length).ok_or(HeadError::BadContentLength),
            };
        }
        // RFC 9112 §6.1: both are a smuggling attempt until proved otherwise.
        if length.is_some() {
            return Err(HeadError::TwoLengths);
        }
        if self.version < Version::Http11 {
            return Err(HeadError::TransferEncodingInOldVersion);
        }
        let codings = self.fields().elements("transfer-encoding");
        let count = codings.clone().count();
        // RFC 9112 §6.3: without chunked at the end the body has no end, which MUST be a 400.
        if !codings.last().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked")) {
            return Err(HeadError::ChunkedNotLast);
        }
        if count == 1 { Ok(BodyLength::Chunked) } else { Err(HeadError::TransferCodingUnsupported) }
    }

    /// Whether the peer waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        // RFC 9110 §10.1.1: the expectation of an HTTP/1.0 client is ignored.
        self.version >= Version::Http11 && self.has_token("expect", "100-continue")
    }

    /// Whether the peer wants to send another request on this connection (RFC 9112 §9.3).
    pub fn keeps_alive(&self) -> bool {
        !self.has_token("connection", "close")
            && (self.version >= Version::Http11 || self.has_token("connection", "keep-alive"))
    }
}
