//! L1: bytes to values and back. No policy, no time, no I/O.

pub mod body;
pub mod close;
#[cfg(feature = "deflate")]
pub mod deflate;
pub mod frame;
pub mod handshake;
pub mod head;
pub mod mask;
pub mod utf8;
#[cfg(feature = "tls")]
pub mod x509;
