//! Compressed messages, inflated as they arrive (RFC 7692 §7.2.2).
//!
//! Refuses to know how the peer came to compress. Invariants: of a message, never more than one byte above its limit is
//! inflated; the ratio is judged at each step; when a turn's budget is spent, the rest waits as it came. A message holds an
//! inflater from its first byte to its last, because nobody else can use one that is in the middle of something; what it
//! costs is charged to the connection.

use super::{Arrival, Incoming, Rules};
use crate::conn::deflate::Codecs;
use crate::conn::error::ProtocolError;
use crate::conn::message::Kind;
use crate::ground::input::Input;
use crate::wire::deflate::{Inflater, ROOM, TAIL};
use crate::wire::frame::{Opcode, Piece};

/// Compressed bytes that are looked at before the budget is asked again: DEFLATE makes a thousand of one, and so a
/// megabyte at the most of these.
const PIECE: usize = 1024;
/// Below so many bytes the ratio is not judged: a short message that repeats itself harms nobody.
pub const RATIO_FLOOR: u64 = 256 * 1024;

/// What is lent to inflate with.
#[derive(Debug)]
pub struct Lent<'a> {
    /// What the loop has.
    pub codecs: &'a mut Codecs,
    /// Where the connection's own inflater is between two messages, if the peer takes its context over.
    pub own: Option<&'a mut Option<Inflater>>,
}

/// A compressed message under way.
#[derive(Debug)]
pub(super) struct Inflating {
    inflater: Inflater,
    /// It is lent, and charged to the connection; else it is the connection's own and in the budget.
    lent: bool,
    /// Bytes of the message as they came, and as they were.
    wire: u64,
    made: u64,
}

impl Inflating {
    fn begin(lent: &mut Lent<'_>) -> Self {
        let (inflater, is_lent) = match &mut lent.own {
            Some(own) => (own.take().unwrap_or_default(), false),
            None => (lent.codecs.inflater(), true),
        };
        Inflating { inflater, lent: is_lent, wire: 0, made: 0 }
    }

    /// The message is complete.
    fn end(mut self, lent: &mut Lent<'_>) -> Result<(), ProtocolError> {
        match &mut lent.own {
            Some(own) => **own = Some(self.inflater),
            None if self.wire > 0 && !self.inflater.is_whole() => return Err(ProtocolError::BadDeflate),
            None => lent.codecs.give_back(self.inflater),
        }
        Ok(())
    }

    pub(super) fn charge(&self) -> usize {
        if self.lent { Inflater::COST } else { 0 }
    }
}

impl Incoming {
    /// Bytes that wait for the next turn.
    pub fn unread(&self) -> usize {
        self.rest.len()
    }

    /// Takes out what [`Incoming::unread`] counts, to read it now.
    pub fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }

    /// The next arrival in `input`, where permessage-deflate has been agreed; `None` when all of it has been taken, or put
    /// off because the budget is spent.
    pub fn next_inflated<'b>(
        &mut self,
        input: &mut Input<'b>,
        rules: &Rules,
        lent: &mut Lent<'_>,
    ) -> Result<Option<Arrival<'b>>, ProtocolError> {
        loop {
            if lent.codecs.left == 0 || !self.rest.is_empty() {
                self.rest.extend_from_slice(input.take(usize::MAX));
                return Ok(None);
            }
            let piece = self.decoder.next_short_piece(input, rules.role, self.compressed, PIECE)?;
            let Some(piece) = piece else { return Ok(None) };
            let arrival = match piece.header.opcode {
                Opcode::Close | Opcode::Ping | Opcode::Pong => self.control(piece)?,
                Opcode::Text => self.any_data(piece, Some(Kind::Text), rules, lent)?,
                Opcode::Binary => self.any_data(piece, Some(Kind::Binary), rules, lent)?,
                Opcode::Continuation => self.any_data(piece, None, rules, lent)?,
            };
            if arrival.is_some() {
                return Ok(arrival);
            }
        }
    }

    fn any_data<'b>(
        &mut self,
        piece: Piece<'b>,
        starts: Option<Kind>,
        rules: &Rules,
        lent: &mut Lent<'_>,
    ) -> Result<Option<Arrival<'b>>, ProtocolError> {
        if piece.first && self.kind.is_none() {
            self.compressed = self.decoder.is_compressed();
        }
        if !self.compressed {
            return self.data(piece, starts, rules, None);
        }
        let Some((kind, last)) = self.admit(&piece, starts, rules)? else { return Ok(None) };
        let mut inflating = self.inflating.take().map_or_else(|| Inflating::begin(lent), |begun| *begun);
        inflating.wire += piece.payload.len() as u64;
        self.inflate(&mut inflating, piece.payload, kind, rules, lent.codecs)?;
        if !last {
            self.inflating = Some(Box::new(inflating));
            return Ok(if self.parts { self.part(kind, false) } else { None });
        }
        // Nothing at all is an empty message: zlib has nothing to flush twice, and there are peers who send that as it is.
        // And what has ended by itself needs no end.
        if inflating.wire > 0 && !inflating.inflater.has_ended() {
            self.inflate(&mut inflating, &TAIL, kind, rules, lent.codecs)?;
        }
        lent.codecs.tally.inflated_from += inflating.wire;
        lent.codecs.tally.inflated_to += inflating.made;
        inflating.end(lent)?;
        if kind == Kind::Text && !self.text.is_complete() {
            return Err(ProtocolError::BadText);
        }
        if self.parts {
            return Ok(self.part(kind, true));
        }
        Ok(Some(self.assembled(kind)))
    }

    /// Hands out what has been inflated of a message that is taken in parts.
    fn part<'b>(&mut self, kind: Kind, last: bool) -> Option<Arrival<'b>> {
        let bytes = self.assembly.take();
        if bytes.is_empty() && !last {
            return None;
        }
        let first = !std::mem::replace(&mut self.begun, true);
        if last {
            self.finish();
        }
        Some(Arrival::Inflated { kind, bytes, first, last })
    }

    /// Inflates `bytes` behind what there is of the message.
    fn inflate(
        &mut self,
        inflating: &mut Inflating,
        bytes: &[u8],
        kind: Kind,
        rules: &Rules,
        codecs: &mut Codecs,
    ) -> Result<(), ProtocolError> {
        let most = if self.parts { rules.streamed_message_max } else { rules.message_max };
        let mut rest = bytes;
        loop {
            // One byte more than may come, to see that it comes.
            let cap = (most - inflating.made).saturating_add(1).min(ROOM as u64) as usize;
            let room = &mut codecs.room()[..cap];
            let made = inflating.inflater.step(&mut rest, room).map_err(|_| ProtocolError::BadDeflate)?;
            let fresh = &room[..made];
            inflating.made += made as u64;
            if inflating.made > most {
                return Err(ProtocolError::MessageTooBig);
            }
            if inflating.made > RATIO_FLOOR && inflating.made / rules.inflate_ratio_max > inflating.wire {
                return Err(ProtocolError::RatioTooHigh);
            }
            if kind == Kind::Text {
                self.text.piece(fresh).map_err(|_| ProtocolError::BadText)?;
            }
            self.assembly.grow(fresh.len(), most, None);
            self.assembly.append(fresh);
            codecs.left = codecs.left.saturating_sub(made);
            if made < cap {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
