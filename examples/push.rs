//! Another thread produces, the loop delivers: every subscriber hears a count, ten times a second.
//!
//! This is how a database listener, a sensor or a computation talks to WebSockets: it keeps its own thread and pace,
//! and reaches the loop through a `Handle`.

use std::thread;
use std::time::Duration;

use tidegate::{Config, ConnId, Context, Handle, HandleError, Handler, Message, Server};

const TOPIC: &str = "count";

struct Listeners;

impl Handler for Listeners {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if cx.subscribe(conn, TOPIC).is_err() {
            cx.close(conn, 1013, "no room");
        }
    }

    // Nobody need say anything; what is said is dropped.
    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// Runs on a thread of its own. The handle never blocks.
fn produce(loop_handle: &Handle) {
    for count in 1_u64.. {
        match loop_handle.publish(TOPIC, format!("{count}")) {
            // `Full` means that the loop is behind: the count that nobody could deliver in time is skipped.
            Ok(()) | Err(HandleError::Full) => thread::sleep(Duration::from_millis(100)),
            Err(_) => return,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let mut server = Server::bind(address, Config::default())?;
    if let Some(address) = server.local_addr() {
        println!("listening on {address}");
    }
    let handle = server.handle();
    thread::spawn(move || produce(&handle));
    server.run(&mut Listeners)?;
    Ok(())
}
