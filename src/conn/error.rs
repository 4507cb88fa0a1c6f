//! What a peer did wrong once the WebSocket is open, and the close code that it earns; and what it did wrong in TLS,
//! which earns it an alert.
//!
//! Misuse by the application is another type, in the hub. Invariant: every protocol error has exactly one close code.

use std::fmt;

use crate::wire::close;
use crate::wire::frame::FrameError;

/// The rule that a peer broke on an open WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame that breaks a rule of RFC 6455 §5 or §7.
    Frame(FrameError),
    /// A text message that is not UTF-8 (§8.1).
    BadText,
    /// A message longer than `message_max` or `streamed_message_max` (§10.4).
    MessageTooBig,
    /// A frame longer than `frame_max` (§10.4).
    FrameTooBig,
    /// A message of more frames than `fragments_max`.
    TooManyFragments,
    /// A compressed message that is not DEFLATE (RFC 7692 §7.2.2).
    #[cfg(feature = "deflate")]
    BadDeflate,
    /// A compressed message that grew by more than `inflate_ratio_max`.
    #[cfg(feature = "deflate")]
    RatioTooHigh,
}

impl ProtocolError {
    /// The close code that tells the peer (RFC 6455 §7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            ProtocolError::Frame(FrameError::CloseReason) | ProtocolError::BadText => close::BAD_DATA,
            ProtocolError::Frame(_) => close::PROTOCOL,
            ProtocolError::MessageTooBig | ProtocolError::FrameTooBig => close::TOO_BIG,
            ProtocolError::TooManyFragments => close::POLICY,
            #[cfg(feature = "deflate")]
            ProtocolError::BadDeflate => close::BAD_DATA,
            #[cfg(feature = "deflate")]
            ProtocolError::RatioTooHigh => close::POLICY,
        }
    }

    /// The rule in a few words; also the reason of the Close frame.
    pub fn text(self) -> &'static str {
        match self {
            ProtocolError::Frame(error) => match error {
                FrameError::Reserved => "reserved bit set",
                FrameError::Opcode => "reserved opcode",
                FrameError::LengthNotMinimal => "length not minimal",
                FrameError::LengthTooLong => "length above 2^63",
                FrameError::NotMasked => "client frame not masked",
                FrameError::Masked => "server frame masked",
                FrameError::ControlFragmented => "control frame fragmented",
                FrameError::ControlTooLong => "control frame longer than 125 bytes",
                FrameError::NothingToContinue => "nothing to continue",
                FrameError::MessageUnfinished => "message inside an unfinished message",
                FrameError::CloseTooShort => "close payload of one byte",
                FrameError::CloseCode => "close code not allowed",
                FrameError::CloseReason => "close reason is not UTF-8",
            },
            ProtocolError::BadText => "text is not UTF-8",
            ProtocolError::MessageTooBig => "message too big",
            ProtocolError::FrameTooBig => "frame too big",
            ProtocolError::TooManyFragments => "too many fragments",
            #[cfg(feature = "deflate")]
            ProtocolError::BadDeflate => "message is not DEFLATE",
            #[cfg(feature = "deflate")]
            ProtocolError::RatioTooHigh => "message inflates too far",
        }
    }
}

impl From<FrameError> for ProtocolError {
    fn from(error: FrameError) -> Self {
        ProtocolError::Frame(error)
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for ProtocolError {}

/// How a TLS session failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer speaks HTTP on a port for TLS; it has been told so in HTTP.
    PlainHttp,
    /// What came is no TLS, or not as RFC 8446 and RFC 5246 have it.
    Protocol,
    /// A record that its key does not fit, because it was changed on the way or made so.
    BadRecord,
    /// A record longer than the protocol allows.
    RecordTooLong,
    /// More bytes of an unfinished handshake than `tls_handshake_max`.
    TooLong,
    /// The peer keeps on asking for another handshake within this one, which is refused.
    Renegotiation,
    /// No version, cipher suite, key exchange, signature or application protocol in common.
    Incompatible,
    /// The peer refused us with this alert (RFC 8446 §6).
    Alert(u8),
    /// The peer has shown no certificate where one is required.
    NoCertificate,
    /// The peer's certificate has expired.
    CertificateExpired,
    /// The peer's certificate is not valid yet.
    CertificateNotYetValid,
    /// The server's certificate is for another name.
    CertificateName,
    /// Nobody whom we trust vouches for the peer's certificate.
    CertificateIssuer,
    /// The peer's certificate is not acceptable for another reason.
    Certificate,
    /// The host is neither a DNS name nor an IP address, so no certificate could have it.
    BadName,
}

impl TlsError {
    /// The rule in a few words.
    pub fn text(self) -> &'static str {
        match self {
            TlsError::PlainHttp => "plain HTTP on a port for TLS",
            TlsError::Protocol => "no TLS, or broken TLS",
            TlsError::BadRecord => "a TLS record that was changed on the way",
            TlsError::RecordTooLong => "a TLS record longer than the protocol allows",
            TlsError::TooLong => "a TLS handshake longer than tls_handshake_max",
            TlsError::Renegotiation => "TLS renegotiation, which is refused",
            TlsError::Incompatible => "no common TLS parameters",
            TlsError::Alert(alert) => alert_text(alert),
            TlsError::NoCertificate => "no client certificate where one is required",
            TlsError::CertificateExpired => "the peer's certificate has expired",
            TlsError::CertificateNotYetValid => "the peer's certificate is not valid yet",
            TlsError::CertificateName => "the server's certificate is for another name",
            TlsError::CertificateIssuer => "nobody trusted vouches for the peer's certificate",
            TlsError::Certificate => "the peer's certificate is not acceptable",
            TlsError::BadName => "the host is neither a DNS name nor an IP address",
        }
    }
}

/// The alerts that say something about what to do.
fn alert_text(alert: u8) -> &'static str {
    match alert {
        40 => "the peer refused the TLS handshake",
        42 | 43 | 46 => "the peer refused our certificate",
        44 => "the peer refused our certificate as revoked",
        45 => "the peer refused our certificate as expired",
        48 => "the peer does not trust who issued our certificate",
        70 => "the peer speaks no TLS version that we do",
        112 => "the peer has no certificate for the name asked for",
        116 => "the peer wants a client certificate",
        120 => "the peer speaks no application protocol that we do",
        _ => "the peer ended the session with a TLS alert",
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self {
            TlsError::Alert(alert) => write!(f, " (alert {alert})"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for TlsError {}
