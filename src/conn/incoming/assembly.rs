//! `Assembly`: the bytes of a message that has not come whole.
//!
//! Refuses to know frames. Invariants: what is handed out has come, whatever lies in the memory behind it; the memory grows
//! with what has come.

use crate::conn::spares::Memory;

/// How far the memory may be ahead of what has arrived. Growing copies: with this, a third of a long message once, where
/// doubling copies all of it.
pub const GROWTH: usize = 4;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Assembly {
    /// Behind the first `filled` bytes is what has been there before: clearing it would cost as much as copying a message.
    bytes: Vec<u8>,
    filled: usize,
}

impl Assembly {
    /// Bytes that have come.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// True when none have.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Memory held, in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Makes room for `len` bytes more: [`GROWTH`] times what has come then, but never beyond `most`, the length that has been
    /// declared. A spare buffer may become it.
    pub fn grow(&mut self, len: usize, most: u64, memory: Option<&Memory>) {
        let needed = self.filled + len;
        if needed <= self.bytes.capacity() {
            return;
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let wanted = (GROWTH * needed).min(most).max(needed);
        self.bytes.truncate(self.filled);
        match memory.and_then(|memory| memory.take(wanted, most)) {
            Some(spare) => {
                let come = std::mem::replace(self, Assembly { bytes: spare, filled: 0 });
                self.append(&come.bytes);
            }
            None => self.bytes.reserve_exact(wanted - self.filled),
        }
    }

    /// Appends what has come elsewhere.
    pub fn append(&mut self, bytes: &[u8]) {
        match self.place(bytes.len()) {
            Some(place) => place.copy_from_slice(bytes),
            None => {
                self.bytes.truncate(self.filled);
                self.bytes.extend_from_slice(bytes);
            }
        }
        self.filled += bytes.len();
    }

    /// Makes a place of so many bytes behind what has come.
    pub fn make_place(&mut self, len: usize) {
        let end = self.filled + len;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
    }

    /// A place of so many bytes that has been made.
    pub fn place(&mut self, len: usize) -> Option<&mut [u8]> {
        self.bytes.get_mut(self.filled..)?.get_mut(..len)
    }

    /// So many bytes have come in the place: these.
    pub fn fill(&mut self, len: usize) -> &mut [u8] {
        let start = self.filled;
        self.filled = self.bytes.len().min(start + len);
        &mut self.bytes[start..self.filled]
    }

    /// What has come. Nothing is left.
    pub fn take(&mut self) -> Vec<u8> {
        let Assembly { mut bytes, filled } = std::mem::take(self);
        bytes.truncate(filled);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_a_spare_buffer_is_never_handed_out() {
        const LEN: usize = 1 << 20;
        let memory = Memory::new(2 * LEN, usize::MAX);
        memory.keep(vec![b'x'; LEN]);
        let mut assembly = Assembly::default();
        assembly.grow(LEN / 2, LEN as u64, Some(&memory));
        assert_eq!((assembly.capacity(), assembly.len(), memory.spare()), (LEN, 0, 0));
        assembly.append(&[b'a'; LEN / 2]);
        assembly.make_place(LEN / 2);
        assembly.place(LEN / 2).unwrap()[..10].fill(b'b');
        assert_eq!(assembly.fill(10), [b'b'; 10]);
        assert_eq!(assembly.len(), LEN / 2 + 10);
        // It takes another one where it must grow, and keeps what has come.
        memory.keep(vec![b'y'; 2 * LEN]);
        assembly.grow(LEN, 2 * LEN as u64, Some(&memory));
        assert_eq!(assembly.capacity(), 2 * LEN);
        let taken = assembly.take();
        assert!(taken[..LEN / 2].iter().all(|byte| *byte == b'a') && taken[LEN / 2..] == [b'b'; 10]);
        assert_eq!((assembly.capacity(), assembly.len()), (0, 0));
    }

    #[test]
    fn it_grows_with_what_has_come() {
        let mut assembly = Assembly::default();
        for (len, most, capacity) in [(10, 1_000, 40), (30, 1_000, 40), (1, 1_000, 164), (200, 250, 250)] {
            assembly.grow(len, most, None);
            assert_eq!(assembly.capacity(), capacity);
            assembly.append(&vec![7; len]);
        }
        assert_eq!(assembly.take(), [7; 241]);
        assert_eq!(assembly.place(1), None, "nobody has made one");
    }
}
