//! The smallest server: every message goes back to whoever sent it.
//!
//! Run it with `cargo run --example echo`, then open a WebSocket to the address that it prints.

use tidegate::{Config, ConnId, Context, Handler, Message, Server};

/// The application. It has no state of its own, so it is an empty struct.
struct Echo;

impl Handler for Echo {
    // The only callback that every application must have. `cx` is the loop: whatever is sent through it is queued,
    // and written when this callback has returned.
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        // `send` says how full the connection's backlog is. Ignoring that is safe: a peer that does not keep up is
        // closed by the limits in `Config`.
        cx.send(conn, msg);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let mut server = Server::bind(address, Config::default())?;
    if let Some(address) = server.local_addr() {
        println!("listening on {address}");
    }
    // Runs until something shuts it down; in this program nothing does but Ctrl-C.
    server.run(&mut Echo)?;
    Ok(())
}
