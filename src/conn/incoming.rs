//! Frames to messages: fragmentation, control frames in between, limits, text checked as it arrives
//! (RFC 6455 §5.4, §5.5, §5.6).
//!
//! Refuses to know time, sockets and what is answered. Invariants: a declared length is judged before a byte of it is
//! kept; the assembly grows with what has arrived; the events are the same for any cut of the bytes, and whether they are
//! copied to the assembly or read into it.

pub mod assembly;
#[cfg(feature = "deflate")]
pub mod inflate;

use std::borrow::Cow;

use self::assembly::Assembly;
use super::error::ProtocolError;
use super::message::{Kind, Message, Part};
use super::spares::Memory;
use crate::ground::input::Input;
use crate::wire::close;
use crate::wire::frame::{FrameDecoder, FrameError, Opcode, Piece, Role};
use crate::wire::utf8::Utf8Check;

/// What applies to one connection at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whose frames are read.
    pub role: Role,
    /// Longest message, in bytes.
    pub message_max: u64,
    /// Longest message that is taken in parts, in bytes.
    pub streamed_message_max: u64,
    /// Longest frame, in bytes.
    pub frame_max: u64,
    /// Most frames of a message.
    pub fragments_max: usize,
    /// The application takes messages in parts.
    pub parts: bool,
    /// Data is dropped: we have sent our Close and only wait for the peer's (§1.4).
    pub discard: bool,
    /// Bytes that may come of one compressed byte.
    #[cfg(feature = "deflate")]
    pub inflate_ratio_max: u64,
}

/// What came of the frames.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<'b> {
    /// A whole message.
    Message(Message<'b>),
    /// A part of a message, where the application takes parts.
    Part(Part<'b>),
    /// The same of a compressed message.
    #[cfg(feature = "deflate")]
    Inflated {
        /// What the whole message is.
        kind: Kind,
        /// The bytes of this part.
        bytes: Vec<u8>,
        /// The first part of its message.
        first: bool,
        /// The last part of its message.
        last: bool,
    },
    /// A Ping with its payload.
    Ping(Cow<'b, [u8]>),
    /// A Pong.
    Pong,
    /// A Close, with code and reason.
    Close(Option<u16>, String),
}

/// The state between two reads while a frame or message is incomplete; absent otherwise.
#[derive(Debug, Default)]
pub struct Incoming {
    decoder: FrameDecoder,
    /// The kind of the message that is arriving, if one is.
    kind: Option<Kind>,
    /// Frames and bytes of that message so far, counting the declared length of the current frame.
    frames: usize,
    declared: u64,
    text: Utf8Check,
    /// That message is delivered in parts, as was the rule when it began.
    parts: bool,
    /// A part of that message has been delivered.
    begun: bool,
    assembly: Assembly,
    control: Vec<u8>,
    /// That message is compressed.
    #[cfg(feature = "deflate")]
    compressed: bool,
    #[cfg(feature = "deflate")]
    inflating: Option<Box<inflate::Inflating>>,
    /// What was put off to the next turn.
    #[cfg(feature = "deflate")]
    rest: Vec<u8>,
}

impl Incoming {
    /// True when nothing is incomplete, so that this state need not be kept.
    pub fn is_idle(&self) -> bool {
        #[cfg(feature = "deflate")]
        if !self.rest.is_empty() {
            return false;
        }
        self.decoder.is_idle() && self.kind.is_none()
    }

    /// Memory held, in bytes.
    pub fn charge(&self) -> usize {
        #[cfg(not(feature = "deflate"))]
        let inflating = 0;
        #[cfg(feature = "deflate")]
        let inflating =
            self.rest.capacity() + self.inflating.as_ref().map_or(0, |inflating| inflating.charge());
        self.assembly.capacity() + self.control.capacity() + inflating
    }

    /// Gives the memory of a message back that will not be delivered.
    pub fn drop_assembly(&mut self) {
        self.assembly = Assembly::default();
        #[cfg(feature = "deflate")]
        {
            self.inflating = None;
        }
    }

    /// The next arrival in `input`, or `None` when all of it has been taken. A long message is assembled in a spare buffer, if
    /// there is one.
    pub fn next<'b>(
        &mut self,
        input: &mut Input<'b>,
        rules: &Rules,
        memory: &Memory,
    ) -> Result<Option<Arrival<'b>>, ProtocolError> {
        while let Some(piece) = self.decoder.next_piece(input, rules.role)? {
            let arrival = match piece.header.opcode {
                Opcode::Close | Opcode::Ping | Opcode::Pong => self.control(piece)?,
                Opcode::Text => self.data(piece, Some(Kind::Text), rules, Some(memory))?,
                Opcode::Binary => self.data(piece, Some(Kind::Binary), rules, Some(memory))?,
                Opcode::Continuation => self.data(piece, None, rules, Some(memory))?,
            };
            if arrival.is_some() {
                return Ok(arrival);
            }
        }
        Ok(None)
    }

    fn control<'b>(&mut self, piece: Piece<'b>) -> Result<Option<Arrival<'b>>, ProtocolError> {
        let opcode = piece.header.opcode;
        let payload = if piece.first && piece.last {
            Cow::Borrowed(&*piece.payload)
        } else {
            self.control.extend_from_slice(piece.payload);
            if !piece.last {
                return Ok(None);
            }
            Cow::Owned(std::mem::take(&mut self.control))
        };
        Ok(Some(match opcode {
            Opcode::Ping => Arrival::Ping(payload),
            Opcode::Pong => Arrival::Pong,
            _ => {
                let (code, reason) = close::parse(&payload)?;
                Arrival::Close(code, reason.to_owned())
            }
        }))
    }

    /// A piece of a data frame; `starts` is the kind of message that it starts, or `None` for a continuation.
    fn data<'b>(
        &mut self,
        piece: Piece<'b>,
        starts: Option<Kind>,
        rules: &Rules,
        memory: Option<&Memory>,
    ) -> Result<Option<Arrival<'b>>, ProtocolError> {
        let Some((kind, last)) = self.admit(&piece, starts, rules)? else { return Ok(None) };
        check_text(&mut self.text, kind, piece.payload, last)?;
        if self.parts {
            if piece.payload.is_empty() && !last {
                return Ok(None);
            }
            let first = !std::mem::replace(&mut self.begun, true);
            if last {
                self.finish();
            }
            return Ok(Some(Arrival::Part(Part { kind, bytes: piece.payload, first, last })));
        }
        if last && self.assembly.is_empty() {
            self.finish();
            let payload = Cow::Borrowed(&*piece.payload);
            return Ok(Some(Arrival::Message(Message { payload, ..Message::of(kind) })));
        }
        self.assembly.grow(piece.payload.len(), self.declared, memory);
        self.assembly.append(piece.payload);
        Ok(last.then(|| self.assembled(kind)))
    }

    /// Judges a piece of a data frame: what kind of message it is of, and whether it is the message's last. `None` where data
    /// is dropped.
    #[inline]
    fn admit(
        &mut self,
        piece: &Piece<'_>,
        starts: Option<Kind>,
        rules: &Rules,
    ) -> Result<Option<(Kind, bool)>, ProtocolError> {
        if piece.first {
            self.open_frame(piece, starts, rules)?;
        }
        let Some(kind) = self.kind else { return Err(FrameError::NothingToContinue.into()) };
        let last = piece.last && piece.header.fin;
        if rules.discard {
            if last {
                self.finish();
            }
            return Ok(None);
        }
        Ok(Some((kind, last)))
    }

    fn assembled(&mut self, kind: Kind) -> Arrival<'static> {
        let payload = Cow::Owned(self.assembly.take());
        self.finish();
        Arrival::Message(Message { payload, ..Message::of(kind) })
    }

    /// How much is still to come of the data frame that is arriving, where another frame of its message follows.
    pub fn fragment_left(&self) -> usize {
        usize::try_from(self.decoder.fragment_left()).unwrap_or(usize::MAX)
    }

    /// How long a place behind what has been assembled the bytes that come next may have, `room` at most, if they belong there
    /// as they are. Only where there is something, and for `least` at least: a few bytes are sooner copied.
    pub fn place_len(&self, room: usize, least: usize) -> Option<usize> {
        #[cfg(feature = "deflate")]
        if self.compressed {
            return None;
        }
        let len = room.min(usize::try_from(self.decoder.data_left()).unwrap_or(usize::MAX));
        (!self.parts && self.assembly.len() >= least && len >= least).then_some(len)
    }

    /// Makes that place.
    pub fn make_place(&mut self, len: usize, memory: &Memory) {
        self.assembly.grow(len, self.declared, Some(memory));
        self.assembly.make_place(len);
    }

    /// The place of so many bytes that has just been made.
    pub fn place(&mut self, len: usize) -> &mut [u8] {
        self.assembly.place(len).unwrap_or_default()
    }

    /// The first `len` bytes of the place have come.
    pub fn arrived_in_place(&mut self, len: usize) -> Result<Option<Arrival<'static>>, ProtocolError> {
        let (Some(kind), 1..) = (self.kind, len) else { return Ok(None) };
        let Some(piece) = self.decoder.piece_in_place(self.assembly.fill(len)) else { return Ok(None) };
        let last = piece.last && piece.header.fin;
        check_text(&mut self.text, kind, piece.payload, last)?;
        Ok(last.then(|| self.assembled(kind)))
    }

    fn open_frame(
        &mut self,
        piece: &Piece<'_>,
        starts: Option<Kind>,
        rules: &Rules,
    ) -> Result<(), ProtocolError> {
        // RFC 6455 §5.4: a message is one data frame followed by continuations, and messages are not interleaved.
        match (self.kind, starts) {
            (None, None) => return Err(FrameError::NothingToContinue.into()),
            (Some(_), Some(_)) => return Err(FrameError::MessageUnfinished.into()),
            (None, Some(kind)) => (self.kind, self.parts) = (Some(kind), rules.parts),
            (Some(_), None) => {}
        }
        self.frames += 1;
        if self.frames > rules.fragments_max {
            return Err(ProtocolError::TooManyFragments);
        }
        // Both below 2^63: the header's length by its rule, the sum because the limit was checked each time.
        self.declared = self.declared.saturating_add(piece.header.len);
        let most = if self.parts { rules.streamed_message_max } else { rules.message_max };
        // What cannot be compressed becomes longer by it; what it was is judged while it is inflated.
        #[cfg(feature = "deflate")]
        let most = if self.compressed { most.saturating_add(most / 8 + 64) } else { most };
        if self.declared > most {
            return Err(ProtocolError::MessageTooBig);
        }
        if piece.header.len > rules.frame_max {
            return Err(ProtocolError::FrameTooBig);
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.kind = None;
        self.frames = 0;
        self.declared = 0;
        self.text = Utf8Check::default();
        self.begun = false;
        self.parts = false;
        self.assembly = Assembly::default();
        #[cfg(feature = "deflate")]
        {
            self.compressed = false;
            self.inflating = None;
        }
    }
}

/// RFC 6455 §8.1, at the first byte that breaks the rule.
fn check_text(text: &mut Utf8Check, kind: Kind, piece: &[u8], last: bool) -> Result<(), ProtocolError> {
    if kind == Kind::Text {
        text.piece(piece).map_err(|_| ProtocolError::BadText)?;
        if last && !text.is_complete() {
            return Err(ProtocolError::BadText);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
