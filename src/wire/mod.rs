//! L1: bytes to values and back. No policy, no time, no I/O.

pub mod close;
pub mod frame;
pub mod mask;
pub mod utf8;
