//! The program keeps its own loop, as a game or a window has one, and gives the server a turn in each round.
//!
//! It counts its rounds, tells every client that connects, and ends gracefully once someone has said "stop".

use std::time::Duration;

use tidegate::{Config, ConnId, Context, Handler, Message, Server, Turn};

/// What the program and its callbacks share: here, plain fields, because both run on this thread.
#[derive(Default)]
struct World {
    rounds: u64,
    stop: bool,
}

impl Handler for World {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        cx.send(conn, format!("round {}", self.rounds));
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        self.stop = msg.as_text() == Some("stop");
        cx.send(conn, msg);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let mut server = Server::bind(address, Config::default())?;
    println!("listening on {}", server.local_addr().ok_or("no address")?);
    let handle = server.handle();
    let mut world = World::default();
    loop {
        // Serves whoever is ready and returns after 16 ms at the latest: sixty rounds a second.
        if let Turn::Stopped(report) = server.turn(&mut world, Some(Duration::from_millis(16)))? {
            println!("{report}");
            return Ok(());
        }
        // Here would be the program's own work: physics, drawing, reading a device.
        world.rounds += 1;
        if std::mem::take(&mut world.stop) {
            // Everyone gets a Close; the turns that follow see to it.
            handle.shutdown()?;
        }
    }
}
