//! `Input`: bytes lent for one call. What is taken is gone; what is left is the caller's to keep.
//!
//! Knows no protocol. Invariant: pieces taken never overlap and stand in the order of arrival, which is why they can
//! be handed out as `&mut` (payloads are unmasked where they lie).

/// Bytes that arrived, lent until the callbacks that look at them have returned.
#[derive(Debug)]
pub struct Input<'b> {
    rest: &'b mut [u8],
}

impl<'b> Input<'b> {
    /// All of `bytes`, nothing taken yet.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Input { rest: bytes }
    }

    /// What has not been taken.
    pub fn rest(&self) -> &[u8] {
        self.rest
    }

    /// Takes the first `len` bytes, or all if there are fewer.
    pub fn take(&mut self, len: usize) -> &'b mut [u8] {
        let rest = std::mem::take(&mut self.rest);
        let (taken, rest) = rest.split_at_mut(len.min(rest.len()));
        self.rest = rest;
        taken
    }

    /// Number of bytes not taken.
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// True when everything was taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
