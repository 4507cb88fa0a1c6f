//! The way of a long message's bytes: from the kernel to where they stay, without the loop's read buffer between.
//!
//! Refuses to know sockets. Invariant: a place is made, filled and settled within one read of one peer, and nothing else
//! happens to the connection meanwhile.

use super::Hub;
use super::handler::Handler;

impl Hub {
    /// True where [`Hub::place`] may find one: with most reads nothing has been begun.
    #[inline]
    pub fn may_have_place(&self, index: u32) -> bool {
        self.slots.0[index as usize].conn.received.is_some()
    }

    /// How much of `room` to read so that the read ends with a long frame, where another follows: the next read then begins
    /// with a header, and a peer whose frames are as long as the read buffer sends one in each.
    pub fn up_to_frame_end(&self, index: u32, room: usize) -> usize {
        // What comes in TLS is longer than what is in it.
        #[cfg(feature = "tls")]
        if self.is_tls(index) {
            return room;
        }
        let left = self.slots.0[index as usize].conn.fragment_left(&self.unfinished, &self.limits);
        left.map_or(room, |left| left.min(room))
    }

    /// Where the bytes that come next from a peer are to be put, `room` at the most, if they have a place of their own.
    /// What has come is told to [`Hub::received_in_place`], also where it is nothing.
    pub fn place(&mut self, index: u32, room: usize) -> Option<&mut [u8]> {
        // What comes in TLS is opened first.
        #[cfg(feature = "tls")]
        if self.is_tls(index) {
            return None;
        }
        let len = self.slots.0[index as usize].conn.place_len(room, &self.unfinished, &self.limits)?;
        // To make room may be the end of this one too, which has no place then.
        self.make_room(index, len);
        self.with(index, |conn, loan| conn.make_place(len, loan));
        let place = self.slots.0[index as usize].conn.place(len, &mut self.unfinished);
        (!place.is_empty()).then_some(place)
    }

    /// The first `len` bytes of the place have come, the last that the kernel held if `drained`.
    pub fn received_in_place(&mut self, index: u32, len: usize, drained: bool, app: &mut dyn Handler) {
        if len > 0 {
            self.note_received(index, len, drained);
        }
        if let Some(event) = self.with(index, |conn, loan| conn.arrived_in_place(len, loan)) {
            self.dispatch(index, event, app);
        }
    }
}
