//! DEFLATE as permessage-deflate uses it: messages to compressed bytes and back (RFC 7692 §7.2, RFC 1951).
//!
//! Refuses to know frames, connections and limits: whoever inflates says how many bytes may come of a step. Invariants: a
//! step never gives more than it has room for; no input panics; a message is never compressed to more than it was.

pub mod negotiation;

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

/// What a sender leaves off the end of a message, and a receiver puts back (RFC 7692 §7.2.1, §7.2.2).
pub const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Bytes that come of one step, in either direction; also far more than the few that a flush needs at once.
pub const ROOM: usize = 64 * 1024;

/// An empty block that ends its stream. Behind a whole message it changes nothing, inside of a block it breaks it.
const END: [u8; 5] = [1, 0, 0, 0xff, 0xff];

/// The bytes are not DEFLATE, or end within a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Undoes compression.
pub struct Inflater {
    stream: Decompress,
    /// A final block has been read and nothing behind it.
    ended: bool,
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Default for Inflater {
    /// One for any window: what a smaller one would save, the library does not give back.
    fn default() -> Self {
        Inflater { stream: Decompress::new(false), ended: false }
    }
}

impl Inflater {
    /// Memory held, in bytes: a window of 32 KiB and the tables of two codes.
    pub const COST: usize = 48 * 1024;

    /// Forgets all that came before.
    pub fn reset(&mut self) {
        self.stream.reset(false);
        self.ended = false;
    }

    /// True when the message may end here without [`TAIL`]: it has ended by itself, with a final block (§7.2.3.4).
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Inflates some of `input` into `room`; returns how many bytes came of it. Where that is less than all of `room`,
    /// `input` has been used up.
    ///
    /// # Errors
    /// When the bytes are not DEFLATE.
    pub fn step(&mut self, input: &mut &[u8], room: &mut [u8]) -> Result<usize, Broken> {
        let mut filled = 0;
        loop {
            let (taken, made) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(input, &mut room[filled..], FlushDecompress::Sync)
                .map_err(|_| Broken)?;
            let taken = (self.stream.total_in() - taken) as usize;
            let made = (self.stream.total_out() - made) as usize;
            *input = &input[taken.min(input.len())..];
            filled += made;
            if taken > 0 {
                self.ended = false;
            }
            if status == Status::StreamEnd {
                // §7.2.3.4: what follows a final block is another stream of the same message.
                self.stream.reset(false);
                self.ended = true;
            }
            if filled == room.len() || input.is_empty() {
                return Ok(filled);
            }
            if taken == 0 && made == 0 && status != Status::StreamEnd {
                return Err(Broken);
            }
        }
    }

    /// True when all blocks of the message are complete. Only for one who takes nothing over: what came before is lost.
    pub fn is_whole(&mut self) -> bool {
        let mut end = &END[..];
        self.step(&mut end, &mut [0]) == Ok(0) && self.ended
    }
}

/// Compresses.
pub struct Deflater {
    stream: Deflate,
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deflater").finish_non_exhaustive()
    }
}

impl Deflater {
    /// `level` 1 to 9, `memory_level` 1 to 9, `window_bits` 8 to 15.
    pub fn new(level: u8, memory_level: u8, window_bits: u8) -> Self {
        let config = DeflateConfig {
            level: i32::from(level.clamp(1, 9)),
            // Negative is raw DEFLATE. A window of 256 bytes is not to be had, but one of 512 is never looked back in
            // by more than 250: 262 bytes are kept for what is being compared.
            window_bits: -i32::from(window_bits.clamp(9, 15)),
            mem_level: i32::from(memory_level.clamp(1, 9)),
            ..DeflateConfig::default()
        };
        Deflater { stream: Deflate::new_with_config(config) }
    }

    /// Memory held by such a one, in bytes: hash heads of 128 KiB whatever the settings, the window twice and as many
    /// links, and what waits to be coded.
    pub const fn cost(memory_level: u8, window_bits: u8) -> usize {
        let window = 1 << if window_bits < 9 { 9 } else { window_bits };
        let symbols = 1 << (memory_level + 6);
        128 * 1024 + 4 * window + 7 * symbols + 8 * 1024
    }

    /// Forgets all that came before.
    pub fn reset(&mut self) {
        self.stream.reset();
    }

    /// Appends `message`, compressed, to `out`. False where that would not be shorter: then nothing has been appended, and
    /// this must be reset before it compresses again. `room` is for intermediate use.
    pub fn message(&mut self, message: &[u8], room: &mut [u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let shorter = self.append(message, room, out).is_ok_and(|()| {
            let packed = &out[start..];
            packed.ends_with(&TAIL) && packed.len() - TAIL.len() < message.len()
        });
        out.truncate(if shorter { out.len() - TAIL.len() } else { start });
        shorter
    }

    fn append(&mut self, message: &[u8], room: &mut [u8], out: &mut Vec<u8>) -> Result<(), Broken> {
        let most = out.len() + message.len() + TAIL.len();
        let mut rest = message;
        loop {
            let (taken, made) = (self.stream.total_in(), self.stream.total_out());
            self.stream.compress(rest, room, DeflateFlush::SyncFlush).map_err(|_| Broken)?;
            let taken = (self.stream.total_in() - taken) as usize;
            let made = (self.stream.total_out() - made) as usize;
            rest = &rest[taken.min(rest.len())..];
            if out.len() + made >= most {
                return Err(Broken);
            }
            out.extend_from_slice(&room[..made.min(room.len())]);
            // Room that was left says that nothing waits inside.
            if made < room.len() {
                return if rest.is_empty() { Ok(()) } else { Err(Broken) };
            }
        }
    }
}

#[cfg(test)]
mod tests;
