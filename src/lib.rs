#![forbid(unsafe_code)]
//! tidegate
pub mod ground;
pub mod wire;
pub mod conn;
mod api { pub mod config; }
pub use api::config::{Config, Value};
