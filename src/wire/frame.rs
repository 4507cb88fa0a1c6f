//! Frames: the header both ways, and a decoder that yields payload as it arrives (RFC 6455 §5.2).
//!
//! Refuses to know messages, limits and time. Invariants: the decoder never waits for a whole frame, never reserves
//! memory because a header asked for it, and gives the same pieces of payload, in sum, for any cut of the bytes.
//! Needing more is a value ([`None`]), not an error.

use super::mask;
use crate::ground::input::Input;

/// Longest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_MAX: usize = 125;
/// Longest header: two bytes, a 64-bit length, a key.
pub const HEADER_MAX: usize = 14;
/// The header of a client's frame of up to 125 bytes: two bytes and a key.
const SHORT_HEADER: usize = 6;
/// The reserved bit that says that a message is compressed (RFC 7692 §6), in the first byte of its first frame.
#[cfg(feature = "deflate")]
pub const RSV1: u8 = 0x40;

/// What a frame is (RFC 6455 §5.2, §11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn parse(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    /// Close, Ping or Pong.
    pub fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }
}

/// Which rule of RFC 6455 §5 a frame breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A reserved bit is set and no extension gives it a meaning (§5.2).
    Reserved,
    /// A reserved opcode (§5.2).
    Opcode,
    /// A length that was not written in the fewest bytes (§5.2).
    LengthNotMinimal,
    /// A 64-bit length with its highest bit set (§5.2).
    LengthTooLong,
    /// A client's frame without a mask (§5.1).
    NotMasked,
    /// A server's frame with a mask (§5.1).
    Masked,
    /// A fragmented control frame (§5.5).
    ControlFragmented,
    /// A control frame longer than 125 bytes (§5.5).
    ControlTooLong,
    /// A continuation frame where no message is to be continued (§5.4).
    NothingToContinue,
    /// A new data frame inside a fragmented message (§5.4).
    MessageUnfinished,
    /// A Close frame with one byte of payload (§5.5.1).
    CloseTooShort,
    /// A Close frame with a code that must not be sent (§7.4).
    CloseCode,
    /// A Close frame whose reason is not UTF-8 (§5.5.1).
    CloseReason,
}

/// Whose frames are read: a server reads masked ones, a client plain ones (RFC 6455 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads masked frames and writes plain ones.
    Server,
    /// Reads plain frames and writes masked ones.
    Client,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Last frame of its message.
    pub fin: bool,
    /// What it is.
    pub opcode: Opcode,
    /// The masking key, if masked.
    pub key: Option<[u8; 4]>,
    /// Length of the payload; below 2^63.
    pub len: u64,
}

impl Header {
    /// Reads the header at the beginning of `bytes`, with its length. Rules are checked as early as the bytes allow.
    #[inline]
    pub fn parse(bytes: &[u8], role: Role) -> Result<Option<(Header, usize)>, FrameError> {
        Header::parse_where(bytes, role, |_| false)
    }

    /// The same where an extension gives reserved bits a meaning: in first bytes that `means` knows.
    #[inline]
    fn parse_where(
        bytes: &[u8],
        role: Role,
        means: impl FnOnce(u8) -> bool,
    ) -> Result<Option<(Header, usize)>, FrameError> {
        let &[first, ref rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 && !means(first) {
            return Err(FrameError::Reserved);
        }
        let fin = first & 0x80 != 0;
        let opcode = Opcode::parse(first & 0x0f).ok_or(FrameError::Opcode)?;
        if opcode.is_control() && !fin {
            return Err(FrameError::ControlFragmented);
        }
        let &[second, ref rest @ ..] = rest else { return Ok(None) };
        let masked = second & 0x80 != 0;
        match role {
            Role::Server if !masked => return Err(FrameError::NotMasked),
            Role::Client if masked => return Err(FrameError::Masked),
            _ => {}
        }
        let short = second & 0x7f;
        if opcode.is_control() && usize::from(short) > CONTROL_MAX {
            return Err(FrameError::ControlTooLong);
        }
        let (len, rest) = match (short, rest) {
            (126, &[a, b, ref rest @ ..]) => match u16::from_be_bytes([a, b]) {
                0..=125 => return Err(FrameError::LengthNotMinimal),
                len => (u64::from(len), rest),
            },
            (127, &[a, b, c, d, e, f, g, h, ref rest @ ..]) => {
                match u64::from_be_bytes([a, b, c, d, e, f, g, h]) {
                    0..=0xffff => return Err(FrameError::LengthNotMinimal),
                    len if len >> 63 != 0 => return Err(FrameError::LengthTooLong),
                    len => (len, rest),
                }
            }
            (126 | 127, _) => return Ok(None),
            (len, rest) => (u64::from(len), rest),
        };
        let (key, rest) = match (masked, rest) {
            (false, rest) => (None, rest),
            (true, &[a, b, c, d, ref rest @ ..]) => (Some([a, b, c, d]), rest),
            (true, _) => return Ok(None),
        };
        Ok(Some((Header { fin, opcode, key, len }, bytes.len() - rest.len())))
    }

    /// Writes the header; returns the bytes and how many they are.
    pub fn encode(&self) -> ([u8; HEADER_MAX], usize) {
        let mut bytes = [0; HEADER_MAX];
        bytes[0] = u8::from(self.fin) << 7 | self.opcode as u8;
        let mut end = match self.len {
            0..=125 => {
                bytes[1] = self.len as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(self.len as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..10].copy_from_slice(&self.len.to_be_bytes());
                10
            }
        };
        if let Some(key) = self.key {
            bytes[1] |= 0x80;
            bytes[end..end + 4].copy_from_slice(&key);
            end += 4;
        }
        (bytes, end)
    }
}

/// Appends one frame to `out`, masked when `key` is given.
pub fn append(out: &mut Vec<u8>, fin: bool, opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>) {
    if let (None, short @ 0..126) = (key, payload.len()) {
        // What a server mostly sends. A header of known length is written by one instruction, not by a call.
        out.reserve(2 + short);
        out.extend_from_slice(&[u8::from(fin) << 7 | opcode as u8, short as u8]);
        return out.extend_from_slice(payload);
    }
    let (header, len) = Header { fin, opcode, key, len: payload.len() as u64 }.encode();
    out.reserve(len + payload.len());
    out.extend_from_slice(&header[..len]);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask::apply(key, &mut out[start..]);
    }
}

/// True for a first byte that may begin a compressed message: RSV1 and no other reserved bit, in the first frame of a
/// message, not in a continuation or control frame (RFC 7692 §6.1).
#[cfg(feature = "deflate")]
fn begins_compressed(first: u8) -> bool {
    matches!(first & 0x7f, 0x41 | 0x42)
}

/// Takes a whole message of up to 125 bytes, as most are, that a client has sent in one frame and that lies complete at the
/// beginning of `input`: what it is, its payload, and whether all of that is ASCII. `None`, and nothing taken, for everything
/// else, good or bad: [`take_whole`] and the decoder read all of it, this too.
#[inline]
pub fn take_short<'b>(input: &mut Input<'b>) -> Option<(Opcode, &'b mut [u8], bool)> {
    let &[first, second, a, b, c, d, ..] = input.rest() else { return None };
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        _ => return None,
    };
    // Without a mask it is above 125 too.
    let len = usize::from(second ^ 0x80);
    if len > CONTROL_MAX || input.len() < SHORT_HEADER + len {
        return None;
    }
    let payload = &mut input.take(SHORT_HEADER + len)[SHORT_HEADER..];
    let ascii = mask::apply_short([a, b, c, d], payload);
    Some((opcode, payload, ascii))
}

/// Takes a whole unfragmented data frame that lies complete at the beginning of `input` and is no longer than
/// `len_max`; its payload comes unmasked. `None`, and nothing taken, for everything else, good or bad: that is the
/// decoder's business.
#[inline]
pub fn take_whole<'b>(input: &mut Input<'b>, role: Role, len_max: u64) -> Option<(Opcode, &'b mut [u8])> {
    let (header, start) = Header::parse(input.rest(), role).ok()??;
    let plain = header.fin && matches!(header.opcode, Opcode::Text | Opcode::Binary);
    if !plain || header.len > len_max || ((input.len() - start) as u64) < header.len {
        return None;
    }
    input.take(start);
    let payload = input.take(header.len as usize);
    if let Some(key) = header.key {
        mask::apply(key, payload);
    }
    Some((header.opcode, payload))
}

/// A piece of a frame's payload, unmasked; also a frame's header with no payload yet, so that a limit can be applied
/// before any payload is kept.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece<'b> {
    /// The frame it belongs to.
    pub header: Header,
    /// What arrived of the payload.
    pub payload: &'b mut [u8],
    /// The first piece of its frame.
    pub first: bool,
    /// The last piece of its frame.
    pub last: bool,
}

/// Yields the payload of frames as it arrives. Between two frames it holds nothing.
#[derive(Clone, Debug, Default)]
pub struct FrameDecoder {
    /// An incomplete header.
    head: [u8; HEADER_MAX],
    head_len: u8,
    /// The frame whose payload is arriving, and how much of it is still to come.
    open: Option<(Header, u64)>,
    /// RSV1 of that frame.
    #[cfg(feature = "deflate")]
    compressed: bool,
}

impl FrameDecoder {
    /// True between two frames.
    pub fn is_idle(&self) -> bool {
        self.head_len == 0 && self.open.is_none()
    }

    /// The next piece of `input`, or `None` when all of it has been taken.
    pub fn next_piece<'b>(
        &mut self,
        input: &mut Input<'b>,
        role: Role,
    ) -> Result<Option<Piece<'b>>, FrameError> {
        let first = self.open.is_none();
        if first && !self.read_header(input, |bytes| Header::parse(bytes, role))? {
            return Ok(None);
        }
        Ok(self.piece(input, first, usize::MAX))
    }

    /// The same where permessage-deflate has been agreed: RSV1 may begin a message. Of one that is compressed, as the
    /// frame is or with `inside` the frames before it were, a piece has `most` bytes at the most.
    #[cfg(feature = "deflate")]
    pub fn next_short_piece<'b>(
        &mut self,
        input: &mut Input<'b>,
        role: Role,
        inside: bool,
        most: usize,
    ) -> Result<Option<Piece<'b>>, FrameError> {
        let first = self.open.is_none();
        let parse = |bytes: &[u8]| Header::parse_where(bytes, role, begins_compressed);
        if first && !self.read_header(input, parse)? {
            return Ok(None);
        }
        let most = if inside || self.compressed { most } else { usize::MAX };
        Ok(self.piece(input, first, most))
    }

    /// RSV1 of the frame that the last piece is of.
    #[cfg(feature = "deflate")]
    pub fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// A piece of the open frame, of `most` bytes at the most.
    #[inline]
    fn piece<'b>(&mut self, input: &mut Input<'b>, first: bool, most: usize) -> Option<Piece<'b>> {
        let (header, left) = self.open.take()?;
        if input.is_empty() && left > 0 && !first {
            self.open = Some((header, left));
            return None;
        }
        let payload = input.take(usize::try_from(left).unwrap_or(usize::MAX).min(most));
        let mut rest = header;
        if let Some(key) = header.key {
            mask::apply(key, payload);
            rest.key = Some(mask::turn(key, payload.len()));
        }
        let left = left - payload.len() as u64;
        if left > 0 {
            self.open = Some((rest, left));
        }
        Some(Piece { header, payload, first, last: left == 0 })
    }

    /// How much of a data frame that has begun is still to come; zero between two frames and within others.
    pub fn data_left(&self) -> u64 {
        match &self.open {
            Some((header, left)) if !header.opcode.is_control() => *left,
            _ => 0,
        }
    }

    /// The same, where another frame of its message follows.
    pub fn fragment_left(&self) -> u64 {
        match &self.open {
            Some((header, _)) if !header.fin => self.data_left(),
            _ => 0,
        }
    }

    /// The next piece of the frame that is arriving, where it has been put in its place already. No more of `payload` is
    /// taken than is still to come of that frame.
    pub fn piece_in_place<'b>(&mut self, payload: &'b mut [u8]) -> Option<Piece<'b>> {
        self.piece(&mut Input::new(payload), false, usize::MAX)
    }

    /// Completes the header from `input`; true when a frame has been opened.
    #[inline]
    fn read_header(
        &mut self,
        input: &mut Input<'_>,
        parse: impl FnOnce(&[u8]) -> Result<Option<(Header, usize)>, FrameError>,
    ) -> Result<bool, FrameError> {
        let kept = usize::from(self.head_len);
        let fresh = input.len().min(HEADER_MAX - kept);
        self.head[kept..kept + fresh].copy_from_slice(&input.rest()[..fresh]);
        match parse(&self.head[..kept + fresh])? {
            Some((header, len)) => {
                input.take(len - kept);
                self.head_len = 0;
                self.open = Some((header, header.len));
                #[cfg(feature = "deflate")]
                {
                    self.compressed = self.head[0] & RSV1 != 0;
                }
                Ok(true)
            }
            None => {
                input.take(fresh);
                self.head_len = (kept + fresh) as u8;
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests;
