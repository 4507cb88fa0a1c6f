#![forbid(unsafe_code)]
//! tidegate
pub mod ground;
pub mod wire;
mod api { pub mod config; }
pub use api::config::{Config, Value};
