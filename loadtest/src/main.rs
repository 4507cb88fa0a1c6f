#![forbid(unsafe_code)]
//! `loadtest`: measures WebSocket servers, and says when its own figures cannot be believed.

mod amount;
mod bootstrap;
mod fit;
mod gate;
mod mix;
mod output;
mod record;
mod schedule;
mod server;

fn main() {}
