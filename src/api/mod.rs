//! L5: what a program embeds. Server, configuration, router.

pub mod config;
pub mod router;
pub mod server;
#[cfg(feature = "tls")]
mod tls;
