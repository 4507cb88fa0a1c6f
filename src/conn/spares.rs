//! `Memory`: what the loop's queues hold, and long buffers whose messages are over, kept a while for messages to come.
//!
//! Allocators map the memory of a long buffer when it is made and give it back when it is dropped; the kernel then clears
//! every page of the next one. For a message of 1 MiB that takes as long as all else that is done with it. Refuses to know
//! whose a buffer was. Invariants: no more than `spare_bytes` are kept; what is kept is not in what the queues hold.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// Shorter buffers are left to the allocator, which has them at hand. In tests it is as short as the simulator's messages are.
const SPARE_MIN: usize = if cfg!(test) { 1024 } else { 128 * 1024 };
/// One that is longer than so many times a message is left for another one.
const EXCESS: usize = 2;

/// The memory of one loop's queues, which several owners add to and take from.
pub type Ledger = Rc<Memory>;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Memory {
    held: Cell<usize>,
    /// While more than this is held, nothing kept is used: it may be longer than room was made for.
    held_max: usize,
    spare_max: usize,
    spare: Cell<usize>,
    buffers: RefCell<VecDeque<Vec<u8>>>,
    reused: Cell<u64>,
    full: Cell<u64>,
}

impl Memory {
    /// One that keeps spare buffers of so many bytes, for queues that may hold so many.
    pub fn new(spare_max: usize, memory_max: usize) -> Self {
        Memory { spare_max, held_max: memory_max / 2, ..Memory::default() }
    }

    /// Bytes that the queues hold.
    pub fn get(&self) -> usize {
        self.held.get()
    }

    /// Notes how many it is now.
    pub fn set(&self, bytes: usize) {
        self.held.set(bytes);
    }

    /// A message is over: keeps its buffer, if that is long. Where there is no room the oldest go: they may be of a length that
    /// nobody sends any more.
    pub fn keep(&self, buffer: Vec<u8>) {
        let len = buffer.capacity();
        if len < SPARE_MIN || self.spare_max == 0 {
            return;
        }
        let mut buffers = self.buffers.borrow_mut();
        while self.spare.get() + len > self.spare_max {
            self.full.set(self.full.get() + 1);
            if len > self.spare_max {
                return;
            }
            let Some(oldest) = buffers.pop_front() else { return };
            self.spare.set(self.spare.get() - oldest.capacity());
        }
        self.spare.set(self.spare.get() + len);
        buffers.push_back(buffer);
    }

    /// A buffer for `least` bytes and no more than `most`, the length of the message, if one is kept. What was in it is in it.
    pub fn take(&self, least: usize, most: usize) -> Option<Vec<u8>> {
        if self.spare.get() < least || least < SPARE_MIN {
            return None;
        }
        let mut buffers = self.buffers.borrow_mut();
        let room = self.held_max.saturating_sub(self.held.get());
        let longest = most.saturating_mul(EXCESS);
        let fits = |buffer: &Vec<u8>| {
            (least..=longest).contains(&buffer.capacity()) && buffer.capacity().min(most) <= room
        };
        let at = buffers.iter().position(fits)?;
        let mut buffer = buffers.remove(at)?;
        self.spare.set(self.spare.get() - buffer.capacity());
        self.reused.set(self.reused.get() + 1);
        buffer.truncate(most);
        buffer.shrink_to(most);
        Some(buffer)
    }

    /// An empty buffer for `len` bytes, a new one where none is kept.
    pub fn buffer(&self, len: usize) -> Vec<u8> {
        let Some(mut buffer) = self.take(len, len) else { return Vec::with_capacity(len) };
        buffer.clear();
        buffer
    }

    /// Gives everything that is kept back to the allocator.
    pub fn forget(&self) {
        self.spare.set(0);
        self.buffers.take();
    }

    /// Bytes that are kept.
    pub fn spare(&self) -> usize {
        self.spare.get()
    }

    /// Messages that were put into a kept buffer, and buffers that went because more of them would have been too much.
    pub fn counts(&self) -> (u64, u64) {
        (self.reused.get(), self.full.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_fits() {
        let memory = Memory::new(4 * SPARE_MIN, usize::MAX);
        memory.keep(vec![1; SPARE_MIN - 1]);
        assert_eq!((memory.spare(), memory.counts()), (0, (0, 0)), "short ones are the allocator's");
        for _ in 0..3 {
            memory.keep(vec![1; SPARE_MIN + 10]);
        }
        memory.keep(vec![1; SPARE_MIN + 10]);
        assert_eq!((memory.spare(), memory.counts()), (3 * (SPARE_MIN + 10), (0, 1)));
        assert_eq!(memory.take(SPARE_MIN + 11, usize::MAX), None, "too short");
        assert_eq!(memory.take(SPARE_MIN / 2, SPARE_MIN), None, "not worth it");
        for (most, capacity) in [(SPARE_MIN, SPARE_MIN), (usize::MAX, SPARE_MIN + 10)] {
            let taken = memory.take(SPARE_MIN, most).unwrap();
            assert_eq!(taken.capacity(), capacity);
        }
        assert_eq!((memory.spare(), memory.counts()), (SPARE_MIN + 10, (2, 1)));
        memory.forget();
        assert_eq!((memory.spare(), memory.take(SPARE_MIN, SPARE_MIN)), (0, None));
    }

    #[test]
    fn the_oldest_make_room() {
        let memory = Memory::new(4 * SPARE_MIN, usize::MAX);
        memory.keep(vec![1; 2 * SPARE_MIN]);
        memory.keep(vec![1; SPARE_MIN]);
        memory.keep(vec![1; 3 * SPARE_MIN]);
        assert_eq!((memory.spare(), memory.counts()), (4 * SPARE_MIN, (0, 1)));
        memory.keep(vec![1; 5 * SPARE_MIN]);
        assert_eq!(
            (memory.spare(), memory.counts()),
            (4 * SPARE_MIN, (0, 2)),
            "one that is too long by itself goes"
        );
    }

    #[test]
    fn the_buffer_of_a_publication_serves_the_next() {
        let memory = Memory::new(4 * SPARE_MIN, usize::MAX);
        for reused in 0..3 {
            let mut buffer = memory.buffer(SPARE_MIN + 14);
            assert_eq!((buffer.len(), memory.counts().0), (0, reused));
            buffer.extend_from_slice(&[1; SPARE_MIN]);
            memory.keep(buffer);
        }
    }

    #[test]
    fn one_that_is_far_too_long_is_left() {
        let memory = Memory::new(1 << 24, 1 << 24);
        memory.keep(vec![1; 2 * EXCESS * SPARE_MIN]);
        assert_eq!(memory.take(SPARE_MIN, SPARE_MIN), None);
        memory.set((1 << 23) - SPARE_MIN);
        assert_eq!(memory.take(SPARE_MIN, 2 * SPARE_MIN), None, "more than may be held");
        memory.set(0);
        assert!(memory.take(SPARE_MIN, 2 * SPARE_MIN).is_some());
    }
}
