//! L0: plain data that every layer may use. No protocol, no time source, no I/O.

pub mod id;
pub mod input;
pub mod limits;
pub mod rng;
pub mod table;
pub mod wheel;
