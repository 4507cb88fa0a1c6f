//! What a peer did wrong once the WebSocket is open, and the close code that it earns.
//!
//! Misuse by the application is another type, in the hub. Invariant: every error has exactly one close code.

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
}

impl ProtocolError {
    /// The close code that tells the peer (RFC 6455 §7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            ProtocolError::Frame(FrameError::CloseReason) | ProtocolError::BadText => close::BAD_DATA,
            ProtocolError::Frame(_) => close::PROTOCOL,
            ProtocolError::MessageTooBig | ProtocolError::FrameTooBig => close::TOO_BIG,
            ProtocolError::TooManyFragments => close::POLICY,
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
