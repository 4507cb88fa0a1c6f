//! The opening handshake as the client writes it and checks the answer.
//!
//! Refuses to know how the connection is made and where the random key comes from. Invariant: an answer
//! that passes agrees to what was offered and to nothing else. RFC 6455 §4.1.

use std::fmt;

use super::super::head::{ResponseHead, Version, is_token, valid_host, write_fields};
use super::{Key, OWN_FIELDS, extensions};
#[cfg(feature = "deflate")]
use crate::wire::deflate::negotiation::{Agreement, NAME, Terms};

/// What a caller may not put into a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// The host is empty or not a host with an optional port (RFC 9110 §7.2).
    Host,
    /// The target does not start with `/`, has a fragment, or is not visible ASCII (RFC 6455 §3).
    Target,
    /// A subprotocol is not a token, or stands twice (RFC 6455 §4.1 item 10).
    Protocol,
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "not a host with an optional port",
            Self::Target => "not a request target",
            Self::Protocol => "subprotocols must be tokens, each once",
        })
    }
}

impl std::error::Error for InvalidRequest {}

/// Appends the request of a client (RFC 6455 §4.1) and returns the key that its answer must match.
///
/// `key16` must be drawn at random for each connection. Fields that are malformed or the handshake's own
/// are left out. `extensions` are those offered, as they stand in their field.
///
/// # Errors
///
/// When an argument would not make a valid request; then nothing is appended.
pub fn write_upgrade_request<'a>(
    out: &mut Vec<u8>,
    host: &str,
    target: &str,
    key16: &[u8; 16],
    protocols: &[&str],
    extensions: Option<&str>,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Key, InvalidRequest> {
    if host.is_empty() || !valid_host(host.as_bytes()) {
        return Err(InvalidRequest::Host);
    }
    if !target.starts_with('/') || target.bytes().any(|b| !b.is_ascii_graphic() || b == b'#') {
        return Err(InvalidRequest::Target);
    }
    for (index, protocol) in protocols.iter().enumerate() {
        if !is_token(protocol.as_bytes()) || protocols.iter().take(index).any(|earlier| earlier == protocol) {
            return Err(InvalidRequest::Protocol);
        }
    }
    let key = Key::from_bytes(key16);
    for part in ["GET ", target, " HTTP/1.1\r\nHost: ", host] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(
        b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ",
    );
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\r\n");
    for (index, protocol) in protocols.iter().enumerate() {
        let before = if index == 0 { "Sec-WebSocket-Protocol: " } else { ", " };
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(protocol.as_bytes());
    }
    if !protocols.is_empty() {
        out.extend_from_slice(b"\r\n");
    }
    write_fields(out, &[], extensions.map(|offered| ("Sec-WebSocket-Extensions", offered)));
    write_fields(out, OWN_FIELDS, headers);
    out.extend_from_slice(b"\r\n");
    Ok(key)
}

/// Why a server's answer does not open the connection, one variant per rule of RFC 6455 §4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcceptError {
    /// The status is not 101 (item 1).
    Status(u16),
    /// The answer is HTTP/1.0, which knows no upgrade (RFC 9110 §7.8).
    OldVersion,
    /// `Upgrade` is missing or not `websocket` alone (item 2).
    NoUpgrade,
    /// `Connection` does not name `Upgrade` (item 3).
    NoConnectionUpgrade,
    /// No `Sec-WebSocket-Accept` (item 4).
    AcceptMissing,
    /// More than one `Sec-WebSocket-Accept` (RFC 6455 §11.3.3).
    AcceptRepeated,
    /// `Sec-WebSocket-Accept` does not belong to the key (item 4).
    WrongAccept,
    /// An extension that was not offered, or a malformed one (item 5).
    ExtensionNotOffered,
    /// An answer to what was offered for compression that does not fit it (RFC 7692 §7.1).
    #[cfg(feature = "deflate")]
    BadDeflate,
    /// A subprotocol that was not offered (item 6).
    ProtocolNotOffered,
    /// More than one `Sec-WebSocket-Protocol` (RFC 6455 §11.3.4).
    ProtocolRepeated,
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status(status) => return write!(f, "the server answered with status {status}"),
            Self::OldVersion => "the server answered with HTTP/1.0",
            Self::NoUpgrade => "the answer's Upgrade is not websocket",
            Self::NoConnectionUpgrade => "the answer's Connection does not name Upgrade",
            Self::AcceptMissing => "Sec-WebSocket-Accept is missing",
            Self::AcceptRepeated => "Sec-WebSocket-Accept is repeated",
            Self::WrongAccept => "Sec-WebSocket-Accept does not belong to the key",
            Self::ExtensionNotOffered => "the server uses an extension that was not offered",
            #[cfg(feature = "deflate")]
            Self::BadDeflate => "the server's permessage-deflate does not fit what was offered",
            Self::ProtocolNotOffered => "the server uses a subprotocol that was not offered",
            Self::ProtocolRepeated => "Sec-WebSocket-Protocol is repeated",
        })
    }
}

impl std::error::Error for AcceptError {}

/// Checks a server's answer and returns the subprotocol that it chose, one of `offered`.
///
/// # Errors
///
/// The first rule that the answer breaks; the connection must then be closed (RFC 6455 §4.1).
pub fn check_accept<'o>(
    response: &ResponseHead<'_, '_>,
    key: &Key,
    offered: &[&'o str],
) -> Result<Option<&'o str>, AcceptError> {
    check_upgraded(response, key)?;
    // No extension was offered, so any is one too many.
    if extensions(response.fields()).next().is_some() {
        return Err(AcceptError::ExtensionNotOffered);
    }
    check_protocol(response, offered)
}

/// The same where compression was offered on these terms; returns what has been agreed about it.
///
/// # Errors
///
/// As those of [`check_accept`].
#[cfg(feature = "deflate")]
pub fn check_deflate(
    response: &ResponseHead<'_, '_>,
    key: &Key,
    offered: &[&str],
    terms: Terms,
) -> Result<Option<Agreement>, AcceptError> {
    check_upgraded(response, key)?;
    let mut answered = extensions(response.fields());
    let agreed = match (answered.next(), answered.next()) {
        (None, _) => None,
        (Some(Ok(answer)), None) if answer.name == NAME => {
            Some(terms.judge(&answer).map_err(|_| AcceptError::BadDeflate)?)
        }
        _ => return Err(AcceptError::ExtensionNotOffered),
    };
    check_protocol(response, offered)?;
    Ok(agreed)
}

fn check_upgraded(response: &ResponseHead<'_, '_>, key: &Key) -> Result<(), AcceptError> {
    let fields = response.fields();
    if response.status != 101 {
        return Err(AcceptError::Status(response.status));
    }
    if response.version < Version::Http11 {
        return Err(AcceptError::OldVersion);
    }
    let mut upgrade = fields.elements("upgrade");
    match (upgrade.next(), upgrade.next()) {
        (Some(name), None) if name.eq_ignore_ascii_case(b"websocket") => {}
        _ => return Err(AcceptError::NoUpgrade),
    }
    if !fields.has_token("connection", "upgrade") {
        return Err(AcceptError::NoConnectionUpgrade);
    }
    match fields.single("sec-websocket-accept") {
        Ok(Some(accept)) if accept == key.accept() => Ok(()),
        Ok(Some(_)) => Err(AcceptError::WrongAccept),
        Ok(None) => Err(AcceptError::AcceptMissing),
        Err(_) => Err(AcceptError::AcceptRepeated),
    }
}

fn check_protocol<'o>(
    response: &ResponseHead<'_, '_>,
    offered: &[&'o str],
) -> Result<Option<&'o str>, AcceptError> {
    match response.fields().single("sec-websocket-protocol") {
        Err(_) => Err(AcceptError::ProtocolRepeated),
        Ok(None) => Ok(None),
        Ok(Some(chosen)) => {
            let known = offered.iter().find(|offered| offered.as_bytes() == chosen);
            known.map(|known| Some(*known)).ok_or(AcceptError::ProtocolNotOffered)
        }
    }
}
