//! Compression as a scripted client does it: an offer, and after it messages packed and unpacked (RFC 7692).
//!
//! Refuses to know frames. Invariant: it forgets when it has agreed to, and remembers whenever it may.

use crate::ground::rng::Rng;
use crate::wire::deflate::negotiation::{Agreement, Terms, WINDOW_BITS};
use crate::wire::deflate::{Deflater, Inflater, ROOM, TAIL};
use crate::wire::frame::Role;

/// A client's compression.
#[derive(Debug)]
pub struct Packer {
    /// What it offers.
    pub terms: Terms,
    agreed: Option<Agreement>,
    deflater: Deflater,
    inflater: Inflater,
    room: Vec<u8>,
}

impl Packer {
    pub fn draw(rng: &mut Rng) -> Self {
        let window_bits = [9, 12, WINDOW_BITS][rng.below(3) as usize];
        Packer {
            terms: Terms { takeover: rng.chance(3, 4), window_bits },
            agreed: None,
            deflater: Deflater::new(1, 1, 9),
            inflater: Inflater::default(),
            room: vec![0; ROOM],
        }
    }

    pub fn agree(&mut self, agreed: Option<Agreement>) {
        self.agreed = agreed;
    }

    /// A message in compressed form, where that may be used and is shorter.
    pub fn pack(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let agreed = self.agreed?;
        let mut packed = Vec::new();
        let shorter = self.deflater.message(message, &mut self.room, &mut packed);
        if !shorter || !agreed.ours(Role::Client).0 {
            self.deflater.reset();
        }
        shorter.then_some(packed)
    }

    /// A compressed message as it was.
    ///
    /// # Panics
    /// When it is none: that is a defect of the server.
    pub fn unpack(&mut self, packed: &[u8]) -> Vec<u8> {
        let Some(agreed) = self.agreed else { panic!("compressed, and nothing agreed") };
        let mut message = Vec::new();
        for mut part in [packed, &TAIL] {
            loop {
                let made =
                    self.inflater.step(&mut part, &mut self.room).unwrap_or_else(|error| panic!("{error:?}"));
                message.extend_from_slice(&self.room[..made]);
                if made < self.room.len() {
                    break;
                }
            }
        }
        if !agreed.theirs(Role::Client) {
            assert!(self.inflater.is_whole(), "a message ends in a block");
            self.inflater.reset();
        }
        message
    }
}
