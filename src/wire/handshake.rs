//! The opening handshake of WebSocket, as the server reads and answers it.
//!
//! Refuses to know which paths, protocols and origins are served. Invariant: what passes
//! [`check_upgrade`] is a complete and unambiguous handshake. RFC 6455 §4.

#[cfg(any(test, feature = "client"))]
mod client;
mod offers;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::head::{BodyLength, RequestHead, Version, is_token, write_fields};

#[cfg(all(any(test, feature = "client"), feature = "deflate"))]
pub use client::check_deflate;
#[cfg(any(test, feature = "client"))]
pub use client::{AcceptError, InvalidRequest, check_accept, write_upgrade_request};
pub use offers::{Extension, Params, Value, extensions, protocols};

/// What the key is hashed with (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Fields that the handshake writes itself; nobody else may.
const OWN_FIELDS: &[&str] = &[
    "upgrade",
    "connection",
    "host",
    "content-length",
    "transfer-encoding",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
];

/// A client's key: the base64 text of 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u8; 24]);

impl Key {
    /// Takes a key as it stands in the header; `None` unless it is 16 bytes in strict base64.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text: [u8; 24] = value.try_into().ok()?;
        let mut bytes = [0; 18];
        (STANDARD.decode_slice(text, &mut bytes) == Ok(16)).then_some(Self(text))
    }

    /// The key of a client that drew these bytes at random.
    #[cfg(any(test, feature = "client"))]
    pub fn from_bytes(bytes: &[u8; 16]) -> Self {
        let mut text = [b'='; 24];
        // 16 bytes are 24 characters, so the slice is never too small.
        let _ = STANDARD.encode_slice(bytes, &mut text);
        Self(text)
    }

    #[cfg(any(test, feature = "client"))]
    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The answer that proves that the handshake was understood.
    pub fn accept(&self) -> [u8; 28] {
        accept_key(&self.0)
    }
}

/// The `Sec-WebSocket-Accept` for the text of a key (RFC 6455 §4.2.2).
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut text = [b'='; 28];
    // A digest of 20 bytes is 28 characters, so the slice is never too small.
    let _ = STANDARD.encode_slice(digest, &mut text);
    text
}

/// What is wrong with an opening handshake, one variant per rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The method is not `GET` (RFC 6455 §4.2.1 item 1).
    NotGet,
    /// The request is HTTP/1.0 (RFC 6455 §4.2.1 item 1). A 400, as 505 would be about the major version.
    OldVersion,
    /// `Upgrade` does not name `websocket` (RFC 6455 §4.2.1 item 3).
    NoUpgrade,
    /// `Connection` does not name `Upgrade` (RFC 6455 §4.2.1 item 4).
    NoConnectionUpgrade,
    /// No `Sec-WebSocket-Key` (RFC 6455 §4.2.1 item 5).
    KeyMissing,
    /// More than one `Sec-WebSocket-Key` (RFC 6455 §11.3.1).
    KeyRepeated,
    /// The key is not 16 bytes in base64 (RFC 6455 §4.2.1 item 5).
    BadKey,
    /// No `Sec-WebSocket-Version` (RFC 6455 §4.2.1 item 6).
    VersionMissing,
    /// More than one `Sec-WebSocket-Version` (RFC 6455 §11.3.5).
    VersionRepeated,
    /// The version is not 13 (RFC 6455 §4.2.2 item 4 and §4.4).
    VersionUnsupported,
    /// More than one `Origin` (RFC 6454 §7.3).
    OriginRepeated,
    /// An offered subprotocol is not a token (RFC 6455 §4.1 item 10).
    BadProtocol,
    /// A subprotocol is offered twice (RFC 6455 §4.1 item 10).
    ProtocolRepeated,
    /// More subprotocols than `PROTOCOLS_MAX`.
    TooManyProtocols,
    /// `Sec-WebSocket-Extensions` breaks its grammar (RFC 6455 §9.1).
    BadExtension,
    /// The request announces a body, which frames could be mistaken for (RFC 9110 §9.3.1).
    HasBody,
}

impl HandshakeError {
    /// The status that answers this fault. With 426 goes the version that is spoken (RFC 6455 §4.4).
    pub fn status(self) -> u16 {
        match self {
            Self::NotGet => 405,
            Self::NoUpgrade | Self::VersionMissing | Self::VersionUnsupported => 426,
            _ => 400,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotGet => "a WebSocket handshake is a GET request",
            Self::OldVersion => "a WebSocket handshake needs HTTP/1.1",
            Self::NoUpgrade => "this resource speaks WebSocket only",
            Self::NoConnectionUpgrade => "Connection does not name Upgrade",
            Self::KeyMissing => "Sec-WebSocket-Key is missing",
            Self::KeyRepeated => "Sec-WebSocket-Key is repeated",
            Self::BadKey => "Sec-WebSocket-Key is not 16 bytes in base64",
            Self::VersionMissing => "Sec-WebSocket-Version is missing",
            Self::VersionRepeated => "Sec-WebSocket-Version is repeated",
            Self::VersionUnsupported => "only WebSocket version 13 is spoken here",
            Self::OriginRepeated => "Origin is repeated",
            Self::BadProtocol => "malformed Sec-WebSocket-Protocol",
            Self::ProtocolRepeated => "a subprotocol is offered twice",
            Self::TooManyProtocols => "too many subprotocols",
            Self::BadExtension => "malformed Sec-WebSocket-Extensions",
            Self::HasBody => "a WebSocket handshake has no body",
        })
    }
}

impl std::error::Error for HandshakeError {}

/// Whether the request asks for WebSocket at all, well or badly.
pub fn wants_upgrade(head: &RequestHead<'_, '_>) -> bool {
    head.has_token("upgrade", "websocket")
}

/// Checks every rule for a client's handshake.
///
/// # Errors
///
/// The first rule that the handshake breaks.
pub fn check_upgrade(head: &RequestHead<'_, '_>) -> Result<Key, HandshakeError> {
    // RFC 6455 §4.2.1, in its order; Host was checked with the head.
    if head.method != "GET" {
        return Err(HandshakeError::NotGet);
    }
    if head.version < Version::Http11 {
        return Err(HandshakeError::OldVersion);
    }
    if !wants_upgrade(head) {
        return Err(HandshakeError::NoUpgrade);
    }
    if !head.has_token("connection", "upgrade") {
        return Err(HandshakeError::NoConnectionUpgrade);
    }
    // The version goes before the key: another version may have another kind of key.
    match head.single("sec-websocket-version") {
        Ok(Some(b"13")) => {}
        Ok(Some(_)) => return Err(HandshakeError::VersionUnsupported),
        Ok(None) => return Err(HandshakeError::VersionMissing),
        Err(_) => return Err(HandshakeError::VersionRepeated),
    }
    let key = match head.single("sec-websocket-key") {
        Ok(Some(value)) => Key::parse(value).ok_or(HandshakeError::BadKey)?,
        Ok(None) => return Err(HandshakeError::KeyMissing),
        Err(_) => return Err(HandshakeError::KeyRepeated),
    };
    if head.single("origin").is_err() {
        return Err(HandshakeError::OriginRepeated);
    }
    offers::check_protocols(head)?;
    for extension in extensions(head.fields()) {
        extension?;
    }
    match head.body_length() {
        Ok(BodyLength::None | BodyLength::Length(0)) => Ok(key),
        _ => Err(HandshakeError::HasBody),
    }
}

/// Appends the 101 that completes a handshake (RFC 6455 §4.2.2 item 5).
///
/// A protocol that is no token is left out, and so are fields that are malformed or the handshake's own. `extensions` are
/// those agreed to, as they stand in their field.
pub fn write_accept<'a>(
    out: &mut Vec<u8>,
    key: &Key,
    protocol: Option<&str>,
    extensions: Option<&str>,
    headers: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&key.accept());
    out.extend_from_slice(b"\r\n");
    if let Some(protocol) = protocol.filter(|protocol| is_token(protocol.as_bytes())) {
        write_fields(out, &[], [("Sec-WebSocket-Protocol", protocol)]);
    }
    write_fields(out, &[], extensions.map(|agreed| ("Sec-WebSocket-Extensions", agreed)));
    write_fields(out, OWN_FIELDS, headers);
    out.extend_from_slice(b"\r\n");
}

/// Whether a page of this origin may connect (RFC 6455 §10.2).
///
/// An empty list allows every origin. A request without one does not come from a page and is allowed,
/// as it could have sent any. Case does not count.
pub fn origin_allowed(origin: Option<&[u8]>, allowed: &[String]) -> bool {
    match origin {
        Some(origin) if !allowed.is_empty() => {
            allowed.iter().any(|allowed| origin.eq_ignore_ascii_case(allowed.as_bytes()))
        }
        _ => true,
    }
}
