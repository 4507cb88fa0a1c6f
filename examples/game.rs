//! A game's heart: twenty times a second the state goes to everyone as a few bytes, never late and never piled up.
//!
//! A client sends one signed byte to move. Each tick is binary: the tick's number, then every player's place, all of
//! them `i32` in little-endian order.

use std::time::Duration;

use tidegate::{Closed, Config, ConnId, ConnMap, Context, Handler, Message, Policy, Server};

const STATE: &str = "state";
const TICK: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Game {
    tick: i32,
    places: ConnMap<i32>,
}

impl Handler for Game {
    fn on_start(&mut self, cx: &mut Context<'_>) {
        // An old state is worth nothing: a player whose network lags gets the newest one, not all of them.
        if cx.topic_policy(STATE, Policy::KeepLatest).is_err() || cx.set_timer(TICK, 0).is_none() {
            cx.shutdown();
        }
    }

    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        self.places.insert(conn, 0);
        let _ = cx.subscribe(conn, STATE);
    }

    fn on_message(&mut self, _: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        if let (&[step], Some(place)) = (msg.as_bytes(), self.places.get_mut(conn)) {
            *place = place.wrapping_add(i32::from(step.cast_signed()));
        }
    }

    fn on_close(&mut self, _: &mut Context<'_>, conn: ConnId, _: &Closed) {
        self.places.remove(conn);
    }

    // A timer fires once; each tick arms the next.
    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        self.tick = self.tick.wrapping_add(1);
        let numbers = std::iter::once(self.tick).chain(self.places.iter().map(|(_, place)| *place));
        cx.publish(STATE, numbers.flat_map(i32::to_le_bytes).collect::<Vec<u8>>());
        cx.set_timer(TICK, tag);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let mut server = Server::bind(address, Config::default())?;
    println!("listening on {}", server.local_addr().ok_or("no address")?);
    server.run(&mut Game::default())?;
    Ok(())
}
