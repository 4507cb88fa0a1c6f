//! The body of a request, as pieces of the bytes it arrived in; and chunks for a streamed response.
//!
//! Refuses to know what a body means and where it is kept. Invariant: no more than `body_max` bytes of
//! body are ever handed out, nothing is stored, and each byte is looked at once. RFC 9112 §6 and §7.1.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Write as _;

use super::head::{BodyLength, is_token_byte};

/// Bytes of a chunk's size line, extensions included.
pub const CHUNK_LINE_MAX: u16 = 256;

/// Bytes of all trailer lines together.
pub const TRAILERS_MAX: u16 = 1024;

/// What the next bytes of a body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEvent<'b> {
    /// Some bytes of the body, never none.
    Piece(&'b [u8]),
    /// All input is used up and the body goes on.
    NeedMore,
    /// The body is complete; what is left of the input follows it.
    End,
}

/// What is wrong with a body, one variant per rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// The body is, or will be, longer than the limit (RFC 9110 §15.5.14).
    TooLarge,
    /// A chunk does not start with hexadecimal digits and CRLF (RFC 9112 §7.1).
    BadChunkSize,
    /// A chunk's size does not fit into 64 bits (RFC 9112 §7.1).
    ChunkSizeOverflow,
    /// A chunk's size line, with its extensions, is longer than the limit (RFC 9112 §7.1.1).
    ChunkLineTooLong,
    /// A chunk's bytes are not followed by CRLF (RFC 9112 §7.1).
    BadChunkEnd,
    /// A trailer line is malformed (RFC 9112 §7.1.2).
    BadTrailer,
    /// The trailers are longer than the limit (RFC 6585 §5).
    TrailersTooLarge,
}

impl BodyError {
    /// The status that answers a request with this fault.
    pub fn status(self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::TrailersTooLarge => 431,
            _ => 400,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "body too large",
            Self::BadChunkSize => "malformed chunk size",
            Self::ChunkSizeOverflow => "chunk size too large for a number",
            Self::ChunkLineTooLong => "chunk extensions too long",
            Self::BadChunkEnd => "chunk does not end with CRLF",
            Self::BadTrailer => "malformed trailer",
            Self::TrailersTooLarge => "trailers too large",
        })
    }
}

impl std::error::Error for BodyError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes of a body with a length.
    Plain,
    /// Before the first digit of a chunk's size.
    Size,
    Digits,
    /// White space behind the digits, which only an extension may follow.
    Space,
    Extension,
    SizeCr,
    /// Bytes of a chunk.
    Chunk,
    ChunkEnd,
    ChunkCr,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerCr,
    LastCr,
    Done,
}

/// Takes the body out of the bytes that follow a request head.
///
/// An error stays: the faulty byte is not used up, so the same call gives it again.
#[derive(Clone, Copy, Debug)]
pub struct BodyDecoder {
    /// Bytes of this chunk, or of the whole plain body, still to come; the size while it is read.
    left: u64,
    /// Bytes of body that chunks may still announce.
    room: u64,
    /// Bytes of this size line, or of all trailers, so far.
    line: u16,
    state: State,
}

impl BodyDecoder {
    /// A decoder for a body of this length and of at most `body_max` bytes.
    ///
    /// # Errors
    ///
    /// [`BodyError::TooLarge`] when the length was announced and is above the limit.
    pub fn new(length: BodyLength, body_max: u64) -> Result<Self, BodyError> {
        let (state, left) = match length {
            BodyLength::None | BodyLength::Length(0) => (State::Done, 0),
            BodyLength::Length(length) if length > body_max => return Err(BodyError::TooLarge),
            BodyLength::Length(length) => (State::Plain, length),
            BodyLength::Chunked => (State::Size, 0),
        };
        Ok(Self { left, room: body_max, line: 0, state })
    }

    /// Whether the body is complete.
    #[cfg(test)]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next piece off the front of `input`.
    ///
    /// # Errors
    ///
    /// The first rule that the body breaks.
    pub fn decode<'b>(&mut self, input: &mut &'b [u8]) -> Result<BodyEvent<'b>, BodyError> {
        loop {
            match self.state {
                State::Done => return Ok(BodyEvent::End),
                State::Plain | State::Chunk => {
                    let wanted = usize::try_from(self.left).unwrap_or(usize::MAX);
                    let (piece, rest) = input.split_at(wanted.min(input.len()));
                    if piece.is_empty() {
                        return Ok(BodyEvent::NeedMore);
                    }
                    *input = rest;
                    self.left = self.left.saturating_sub(piece.len() as u64);
                    if self.left == 0 {
                        self.state = if self.state == State::Plain { State::Done } else { State::ChunkEnd };
                    }
                    return Ok(BodyEvent::Piece(piece));
                }
                _ => {
                    let Some((&byte, rest)) = input.split_first() else { return Ok(BodyEvent::NeedMore) };
                    self.state = self.step(byte)?;
                    *input = rest;
                }
            }
        }
    }

    // RFC 9112 §7.1
    fn step(&mut self, byte: u8) -> Result<State, BodyError> {
        use State::*;
        let next = match (self.state, byte) {
            (Size | Digits, b) if b.is_ascii_hexdigit() => {
                // Before the size changes, so that the error stays.
                if self.line >= CHUNK_LINE_MAX {
                    return Err(BodyError::ChunkLineTooLong);
                }
                let digit = char::from(b).to_digit(16).unwrap_or(0);
                self.left = self
                    .left
                    .checked_mul(16)
                    .and_then(|size| size.checked_add(u64::from(digit)))
                    .ok_or(BodyError::ChunkSizeOverflow)?;
                Digits
            }
            (Digits, b'\r' | b';' | b' ' | b'\t') if self.left > self.room => {
                return Err(BodyError::TooLarge);
            }
            (Digits, b'\r') | (Extension, b'\r') => return Ok(SizeCr),
            (Digits | Space, b';') => Extension,
            // RFC 9112 §7.1.1: white space before an extension is bad but tolerated.
            (Digits | Space, b' ' | b'\t') => Space,
            (Extension, b) if b == b'\t' || !b.is_ascii_control() => Extension,
            (SizeCr, b'\n') => {
                self.line = 0;
                self.room = self.room.saturating_sub(self.left);
                return Ok(if self.left == 0 { TrailerStart } else { Chunk });
            }
            (Size | Digits | Space | Extension | SizeCr, _) => return Err(BodyError::BadChunkSize),
            (ChunkEnd, b'\r') => return Ok(ChunkCr),
            (ChunkCr, b'\n') => return Ok(Size),
            (ChunkEnd | ChunkCr, _) => return Err(BodyError::BadChunkEnd),
            (TrailerStart, b'\r') => return Ok(LastCr),
            (LastCr, b'\n') => return Ok(Done),
            // RFC 9112 §7.1.2: trailers may be discarded; a malformed one still shows a confused peer.
            (TrailerName, b':') => TrailerValue,
            (TrailerStart | TrailerName, b) if is_token_byte(b) => TrailerName,
            (TrailerValue, b'\r') => TrailerCr,
            (TrailerCr, b'\n') => TrailerStart,
            (TrailerValue, b) if b == b'\t' || !b.is_ascii_control() => TrailerValue,
            (_, _) => return Err(BodyError::BadTrailer),
        };
        let (line_max, error) = match next {
            Digits | Space | Extension => (CHUNK_LINE_MAX, BodyError::ChunkLineTooLong),
            _ => (TRAILERS_MAX, BodyError::TrailersTooLarge),
        };
        if self.line >= line_max {
            return Err(error);
        }
        self.line += 1;
        Ok(next)
    }
}

/// Appends `data` as one chunk; nothing when it is empty, since an empty chunk ends the body.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    // Writing to a `Vec` has no failure to report.
    let _ = write!(out, "{:x}\r\n", data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Appends the chunk that ends a body.
pub fn write_last_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}
