//! `Cork`: the loop's write buffer, in which what is sent to the peer being read is gathered until its callbacks are over.
//!
//! A long reply that lies in the loop's read buffer, as an echo's does, is not copied: the cork notes down where it lies, its
//! header is put before it, where the header that it came with has been, and the kernel takes both from there. Refuses to know
//! sockets. Invariants: bytes leave in the order in which they came; no header is put over what is still to leave; what lies in
//! the read buffer has left, or been copied ([`Cork::take_rest`]), before that is read into again.

use std::io::IoSlice;
use std::ops::Range;

use super::outbox::SLICES;
use crate::ground::limits::Limits;
use crate::wire::frame::{CONTROL_MAX, HEADER_MAX, Header, Opcode};

/// Bytes at the beginning of the read buffer that are not read into: room for a header.
pub const HEADROOM: usize = 16;
const _: () = assert!(HEADROOM >= HEADER_MAX);
/// Shorter ones are copied: that is cheaper than one more piece for the kernel to gather.
const LENT_MIN: usize = 4 * 1024;
/// Most pieces in the read buffer: with the cork's own between them, they fit into one vectored write.
const LENT_MAX: usize = (SLICES - 1) / 2;

/// Room for a frame of up to 125 bytes.
const SHORT_ROOM: usize = 2 + CONTROL_MAX;
/// The longest payload that [`Cork::append_short`] takes.
pub const SHORT: usize = 32;
/// Room for a frame of that.
const SHORT_PLACE: usize = 2 + SHORT;
/// Places are made for so many bytes at once.
const PLACES: usize = 1024;
const _: () = assert!(PLACES >= SHORT_ROOM);

/// A frame in the read buffer, and before which of the cork's own bytes it comes.
#[derive(Debug)]
struct Lent {
    frame: Range<usize>,
    header: ([u8; HEADER_MAX], usize),
    before: usize,
}

/// The write buffer. See the module's text.
#[derive(Debug, Default)]
pub struct Cork {
    /// The first `end` of them are gathered. Those behind are places into which a short frame is written in steps of a fixed
    /// size, without the checks and the call by which a vector grows.
    own: Vec<u8>,
    end: usize,
    lent: Vec<Lent>,
    /// Bytes of these frames, headers included.
    lent_len: usize,
    /// Bytes that have been written, of both kinds together.
    sent: usize,
    /// The addresses of the read buffer, while what it holds is being handled.
    lender: Range<usize>,
}

impl Cork {
    /// One that takes so many bytes of its own, and the header of the frame that they end in, without growing.
    pub fn with_capacity(bytes: usize) -> Self {
        Cork { own: Vec::with_capacity(bytes + HEADER_MAX), ..Cork::default() }
    }

    /// From here on, what lies in `buffer`, the read buffer with its [`HEADROOM`], need not be copied.
    #[inline]
    pub fn lend(&mut self, buffer: &[u8]) {
        if buffer.len() >= HEADROOM + LENT_MIN {
            let start = buffer.as_ptr().addr();
            self.lender = start..start + buffer.len();
        }
    }

    /// From here on, everything is copied; the headers of what has been lent are put before it.
    #[inline]
    pub fn end_lending(&mut self, buffer: &mut [u8]) {
        if self.lender.start == 0 {
            return;
        }
        self.lender = 0..0;
        for Lent { frame, header: (header, len), .. } in &self.lent {
            buffer[frame.start..frame.start + len].copy_from_slice(&header[..*len]);
        }
    }

    /// Bytes gathered.
    #[inline]
    pub fn len(&self) -> usize {
        self.end + self.lent_len
    }

    /// True where a frame of `len` bytes more may be gathered, of either kind. Should the kernel refuse it, all of it becomes
    /// backlog, which must not be the connection's end: not with what is queued behind it until that is high, and half of the
    /// rest for the message that makes it so.
    #[inline]
    pub fn may_hold(&self, len: usize, limits: &Limits) -> bool {
        self.len() + len + HEADER_MAX <= limits.backlog_max.saturating_sub(limits.backlog_high) / 2
    }

    /// True where there is room for `len` bytes more of the cork's own.
    #[inline]
    pub fn has_room(&self, len: usize, limits: &Limits) -> bool {
        self.end + len < limits.cork_bytes && self.may_hold(len, limits)
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that have not been written.
    pub fn waiting(&self) -> usize {
        self.len() - self.sent
    }

    /// True when some of them lie in the read buffer.
    #[inline]
    pub fn has_lent(&self) -> bool {
        self.lent_len > 0
    }

    /// Lets `write` append to the cork's own bytes.
    #[inline]
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.own.truncate(self.end);
        write(&mut self.own);
        self.end = self.own.len();
    }

    /// Appends a whole frame with a payload of up to [`SHORT`] bytes, as many are, to others that are the cork's own; false
    /// where it is longer, or no place has been made for it.
    #[inline]
    pub fn append_short(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) -> bool {
        if self.lent_len > 0 || payload.len() > SHORT {
            return false;
        }
        let place = self.own.get_mut(self.end..).and_then(|places| places.first_chunk_mut());
        let Some(place) = place else { return false };
        self.end += write_short(place, u8::from(fin) << 7 | opcode as u8, payload);
        true
    }

    /// The same for one of up to 125 bytes; false where it is longer, or there might be no room.
    pub fn append_control(&mut self, fin: bool, opcode: Opcode, payload: &[u8]) -> bool {
        let fits = payload.len() <= CONTROL_MAX && self.lent_len == 0 && self.make_places();
        if fits {
            let place = &mut self.own[self.end..][..2 + payload.len()];
            place[..2].copy_from_slice(&[u8::from(fin) << 7 | opcode as u8, payload.len() as u8]);
            place[2..].copy_from_slice(payload);
            self.end += place.len();
        }
        fits
    }

    /// Makes places for one more short frame and for others behind it, in the room that there is; false where that is too
    /// little for one.
    fn make_places(&mut self) -> bool {
        if self.own.len() - self.end < SHORT_ROOM {
            self.own.resize(self.own.capacity().min(self.end + PLACES), 0);
        }
        self.own.len() - self.end >= SHORT_ROOM
    }

    /// Appends a frame without copying its payload, where that is long, lies in the read buffer and has room for the header
    /// before it; else false.
    #[inline]
    pub fn append_lent(&mut self, header: Header, payload: &[u8]) -> bool {
        payload.len() >= LENT_MIN
            && self.lender.contains(&payload.as_ptr().addr())
            && self.append_lying(header, payload)
    }

    fn append_lying(&mut self, header: Header, payload: &[u8]) -> bool {
        let start = payload.as_ptr().addr() - self.lender.start;
        let header = header.encode();
        // What is before a payload is its own header, which is over. But parts of a payload may be sent in any order.
        let taken = self.lent.last().map_or(0, |lent| lent.frame.end);
        let room = self.lent.len() < LENT_MAX && start >= taken + header.1;
        if room {
            let frame = start - header.1..start + payload.len();
            self.lent_len += frame.len();
            self.lent.push(Lent { frame, header, before: self.end });
        }
        room
    }

    /// What has not been written, where it lies in one piece; `buffer` is the read buffer.
    #[inline]
    pub fn plain<'a>(&'a self, buffer: &'a [u8]) -> Option<&'a [u8]> {
        match &self.lent[..] {
            [] => Some(&self.own[self.sent..self.end]),
            [lent] if self.end == 0 => Some(&buffer[lent.frame.clone()][self.sent..]),
            _ => None,
        }
    }

    /// What has not been written, as slices, `room` bytes at the most; `buffer` is the read buffer.
    pub fn gather<'a>(&'a self, buffer: &'a [u8], mut room: usize, out: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut count = 0;
        for piece in self.unsent(buffer) {
            let piece = &piece[..piece.len().min(room)];
            if !piece.is_empty() {
                room -= piece.len();
                out[count] = IoSlice::new(piece);
                count += 1;
            }
        }
        count
    }

    /// What has not been written, piece by piece; some are empty.
    fn unsent<'a>(&'a self, buffer: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let last = self.lent.last().map_or(0, |lent| lent.before);
        let mut at = 0;
        let both = self.lent.iter().flat_map(move |lent| {
            let own = &self.own[at..lent.before];
            at = lent.before;
            [own, &buffer[lent.frame.clone()]]
        });
        let mut sent = self.sent;
        both.chain(std::iter::once(&self.own[last..self.end])).map(move |piece| {
            let skip = sent.min(piece.len());
            sent -= skip;
            &piece[skip..]
        })
    }

    /// The first `len` bytes that waited have been written; returns how many of them are not the cork's. When all of it has
    /// been written it is empty, and takes more.
    pub fn advance(&mut self, len: usize) -> usize {
        let step = len.min(self.waiting());
        self.sent += step;
        if self.waiting() == 0 {
            self.clear();
        }
        len - step
    }

    /// Takes out what has not been written, if anything; the cork is empty then. `buffer` is the read buffer.
    pub fn take_rest(&mut self, buffer: &[u8]) -> Option<Vec<u8>> {
        let waiting = self.waiting();
        let rest = (waiting > 0).then(|| {
            let mut rest = Vec::with_capacity(waiting);
            self.unsent(buffer).for_each(|piece| rest.extend_from_slice(piece));
            rest
        });
        self.clear();
        rest
    }

    /// Forgets everything.
    #[inline]
    pub fn clear(&mut self) {
        self.end = 0;
        self.sent = 0;
        if self.has_lent() {
            self.lent.clear();
            self.lent_len = 0;
        }
    }
}

/// Writes a frame with a payload of up to [`SHORT`] bytes to the beginning of `place`, in steps of a fixed size, each of
/// which is an instruction or two where a call would be twenty; a payload's last step covers bytes once more. Returns the
/// frame's length.
#[inline(always)]
fn write_short(place: &mut [u8; SHORT_PLACE], first: u8, payload: &[u8]) -> usize {
    let len = payload.len();
    place[0] = first;
    place[1] = len as u8;
    if let (Some(first), Some(last)) = (payload.first_chunk::<16>(), payload.last_chunk::<16>()) {
        place[2..18].copy_from_slice(first);
        place[len - 14..][..16].copy_from_slice(last);
    } else if let (Some(first), Some(last)) = (payload.first_chunk::<8>(), payload.last_chunk::<8>()) {
        place[2..10].copy_from_slice(first);
        place[len - 6..][..8].copy_from_slice(last);
    } else if let (Some(first), Some(last)) = (payload.first_chunk::<4>(), payload.last_chunk::<4>()) {
        place[2..6].copy_from_slice(first);
        place[len - 2..][..4].copy_from_slice(last);
    } else if let (Some(first), Some(middle), Some(last)) =
        (payload.first(), payload.get(len / 2), payload.last())
    {
        (place[2], place[2 + len / 2], place[1 + len]) = (*first, *middle, *last);
    }
    2 + len
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame;

    fn header(payload: &[u8]) -> Header {
        Header { fin: true, opcode: Opcode::Binary, key: None, len: payload.len() as u64 }
    }

    fn framed(payload: &[u8]) -> Vec<u8> {
        let (header, len) = header(payload).encode();
        [&header[..len], payload].concat()
    }

    /// A read buffer, and where in it payloads lie behind the headers that they came with.
    fn buffer() -> (Vec<u8>, [Range<usize>; 2]) {
        let first = HEADROOM..HEADROOM + LENT_MIN;
        let second = first.end + 8..first.end + 8 + LENT_MIN + 5;
        ((0..second.end).map(|i| (i % 251) as u8).collect(), [first, second])
    }

    /// A cork with own and lent bytes in turn, and what it is to write.
    fn mixed() -> (Cork, Vec<u8>, Vec<u8>) {
        let (mut buffer, [first, second]) = buffer();
        let (first, second) = (buffer[first].to_vec(), buffer[second].to_vec());
        let mut cork = Cork::with_capacity(64);
        cork.lend(&buffer);
        cork.append(|out| out.extend_from_slice(b"one"));
        for payload in [&buffer[HEADROOM..][..LENT_MIN], &buffer[HEADROOM + LENT_MIN + 8..]] {
            assert!(cork.append_lent(header(payload), payload));
        }
        cork.append(|out| out.extend_from_slice(b"two"));
        cork.end_lending(&mut buffer);
        let expected = [b"one", &framed(&first)[..], &framed(&second), b"two"].concat();
        (cork, buffer, expected)
    }

    #[test]
    fn only_long_bytes_of_the_read_buffer_are_lent() {
        let (buffer, [first, second]) = buffer();
        let other = vec![0; LENT_MIN];
        let mut cork = Cork::default();
        let lent = |cork: &mut Cork, payload: &[u8]| cork.append_lent(header(payload), payload);
        assert!(!lent(&mut cork, &buffer[first.clone()]), "nothing lends");
        cork.lend(&buffer);
        assert!(!lent(&mut cork, &buffer[HEADROOM..HEADROOM + LENT_MIN - 1]), "too short");
        assert!(!lent(&mut cork, &other), "lies elsewhere");
        assert!(lent(&mut cork, &buffer[first.clone()]));
        assert!(!lent(&mut cork, &buffer[first.clone()]), "twice");
        assert!(!lent(&mut cork, &buffer[first.end..first.end + LENT_MIN]), "no room for a header");
        assert!(lent(&mut cork, &buffer[second.clone()]));
        assert!(!lent(&mut cork, &buffer[first]), "lies before what is lent");
        cork.clear();
        assert!(cork.is_empty() && lent(&mut cork, &buffer[second]));
    }

    #[test]
    fn short_frames_are_as_all_are() {
        for len in 0..=CONTROL_MAX + 1 {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            for (fin, opcode) in [(true, Opcode::Text), (false, Opcode::Binary), (true, Opcode::Continuation)]
            {
                let mut cork = Cork::with_capacity(400);
                cork.append(|out| out.extend_from_slice(b"before"));
                let mut expected = b"before".to_vec();
                assert!(!cork.append_short(fin, opcode, &payload), "no place has been made");
                let short = cork.append_control(fin, opcode, &payload);
                assert_eq!(short, len <= CONTROL_MAX, "{len}");
                if short {
                    frame::append(&mut expected, fin, opcode, &payload, None);
                }
                let shorter = cork.append_short(fin, opcode, &payload);
                assert_eq!(shorter, short && len <= SHORT, "{len}");
                if shorter {
                    frame::append(&mut expected, fin, opcode, &payload, None);
                }
                let room = 400 + HEADER_MAX;
                assert_eq!((cork.plain(&[]), cork.own.capacity()), (Some(&expected[..]), room), "{len}");
            }
        }
        let mut full = Cork::with_capacity(SHORT_ROOM + 1 - HEADER_MAX);
        full.append(|out| out.extend_from_slice(b"xx"));
        assert!(!full.append_control(true, Opcode::Text, b"no room"));
    }

    #[test]
    fn no_more_is_lent_than_one_write_takes() {
        let mut buffer = vec![0; HEADROOM + (LENT_MAX + 1) * (LENT_MIN + 8)];
        let mut cork = Cork::default();
        cork.lend(&buffer);
        let mut lent = 0;
        for frame in buffer[HEADROOM..].chunks_exact(LENT_MIN + 8) {
            cork.append(|out| out.push(0));
            lent += usize::from(cork.append_lent(header(&frame[8..]), &frame[8..]));
        }
        assert_eq!(lent, LENT_MAX);
        cork.end_lending(&mut buffer);
        let mut slices = [IoSlice::new(&[]); SLICES];
        assert!(cork.gather(&buffer, usize::MAX, &mut slices) <= SLICES);
    }

    #[test]
    fn bytes_leave_in_order_however_they_are_cut() {
        let (cork, buffer, expected) = mixed();
        assert_eq!((cork.len(), cork.plain(&buffer)), (expected.len(), None));
        for step in [1, 2, 3, 4, 7, 8, LENT_MIN - 1, LENT_MIN, LENT_MIN + 4, expected.len()] {
            let (mut cork, buffer, _) = mixed();
            let mut heard = Vec::new();
            while cork.waiting() > 0 {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = cork.gather(&buffer, step, &mut slices);
                let before = heard.len();
                slices[..count].iter().for_each(|slice| heard.extend_from_slice(slice));
                assert_eq!(cork.advance(heard.len() - before), 0);
            }
            assert!(heard == expected, "in steps of {step}");
            assert_eq!(cork.advance(5), 5, "not the cork's");
        }
    }

    #[test]
    fn one_frame_that_is_lent_is_one_piece() {
        let (mut buffer, [first, _]) = buffer();
        let expected = framed(&buffer[first.clone()]);
        let mut cork = Cork::default();
        cork.lend(&buffer);
        assert!(cork.append_lent(header(&buffer[first.clone()]), &buffer[first]));
        cork.end_lending(&mut buffer);
        assert!(cork.plain(&buffer) == Some(&expected[..]));
        cork.advance(100);
        assert!(cork.plain(&buffer) == Some(&expected[100..]));
    }

    #[test]
    fn what_is_left_is_copied() {
        for sent in [0, 2, 3, 5, 7, LENT_MIN, LENT_MIN + 7, 2 * LENT_MIN, 2 * LENT_MIN + 16] {
            let (mut cork, buffer, expected) = mixed();
            cork.advance(sent);
            assert!(cork.take_rest(&buffer).as_deref() == Some(&expected[sent..]), "after {sent}");
            assert!(cork.is_empty() && cork.take_rest(&buffer).is_none());
        }
    }
}
