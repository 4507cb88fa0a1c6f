//! `game`: players on a field that wraps around, and its state to everyone twenty times a second.
//!
//! A client moves with a binary message of two signed bytes, dx and dy. A tick is binary, little-endian:
//! u32 tick, u16 players, then per player u32 id, i16 x, i16 y. Invariant: at most [`PLAYERS_MAX`] play,
//! later ones watch until they reconnect; positions stay within the field.

use std::time::Duration;

use tidegate::{Closed, ConnId, ConnMap, Context, Handler, Message, Policy};

use super::{beat::Beat, tag};

const TOPIC: &str = "game";
const PLAYERS_MAX: usize = 1_000;
const FIELD: i16 = 1_000;
const TICK: Duration = Duration::from_millis(50);

/// The game application.
pub struct Game {
    beat: Beat,
    field: Field,
    /// Where the players of connections stand in `field.players`.
    seats: ConnMap<usize>,
}

/// The state that clients see.
struct Field {
    tick: u32,
    last_id: u32,
    players: Vec<Player>,
    /// A tick's bytes, kept to be filled again.
    encoded: Vec<u8>,
}

struct Player {
    conn: ConnId,
    id: u32,
    x: i16,
    y: i16,
}

impl Game {
    pub fn new() -> Self {
        let field = Field { tick: 0, last_id: 0, players: Vec::new(), encoded: Vec::new() };
        Game { beat: Beat::new(tag::GAME, TOPIC, TICK), field, seats: ConnMap::new() }
    }
}

impl Handler for Game {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        if self.beat.join(cx, conn) {
            // An old tick is worth nothing: a reader that lags gets the newest, and is not closed for it.
            // The topic exists since `join`, so there is nothing to refuse.
            let _ = cx.topic_policy(TOPIC, Policy::KeepLatest);
        }
        if self.field.players.len() < PLAYERS_MAX {
            self.seats.insert(conn, self.field.players.len());
            let (id, x, y) = self.field.newcomer();
            self.field.players.push(Player { conn, id, x, y });
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        let &[dx, dy] = msg.as_bytes() else {
            cx.close(conn, 1008, "a move is two bytes: dx, dy");
            return;
        };
        if let Some(player) = self.seats.get(conn).and_then(|seat| self.field.players.get_mut(*seat)) {
            player.x = moved(player.x, dx.cast_signed());
            player.y = moved(player.y, dy.cast_signed());
        }
    }

    fn on_close(&mut self, _cx: &mut Context<'_>, conn: ConnId, _why: &Closed) {
        let Some(seat) = self.seats.remove(conn) else { return };
        if seat < self.field.players.len() {
            self.field.players.swap_remove(seat);
        }
        if let Some(player) = self.field.players.get(seat) {
            self.seats.insert(player.conn, seat);
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, tag: u64) {
        if self.beat.strikes(cx, tag) {
            cx.publish(TOPIC, self.field.step());
        }
    }
}

impl Field {
    /// A fresh id, and a place that spreads newcomers over the field.
    fn newcomer(&mut self) -> (u32, i16, i16) {
        self.last_id = self.last_id.wrapping_add(1);
        let spread = |factor: u32| (self.last_id.wrapping_mul(factor) % FIELD.cast_unsigned() as u32) as i16;
        (self.last_id, spread(617), spread(383))
    }

    /// Counts the tick and encodes it.
    fn step(&mut self) -> &[u8] {
        self.tick = self.tick.wrapping_add(1);
        let out = &mut self.encoded;
        out.clear();
        out.extend_from_slice(&self.tick.to_le_bytes());
        out.extend_from_slice(&(self.players.len() as u16).to_le_bytes());
        for player in &self.players {
            out.extend_from_slice(&player.id.to_le_bytes());
            out.extend_from_slice(&player.x.to_le_bytes());
            out.extend_from_slice(&player.y.to_le_bytes());
        }
        out
    }
}

fn moved(at: i16, by: i8) -> i16 {
    (at + i16::from(by)).rem_euclid(FIELD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_wrap_at_the_edges() {
        for (at, by, expected) in [(0, 1, 1), (0, -1, 999), (999, 1, 0), (5, -128, 877), (999, 127, 126)] {
            assert_eq!(moved(at, by), expected, "{at} {by}");
        }
    }

    #[test]
    fn newcomers_stand_on_the_field() {
        let mut field = Field { tick: 0, last_id: u32::MAX - 2, players: Vec::new(), encoded: Vec::new() };
        for _ in 0..2_000 {
            let (_, x, y) = field.newcomer();
            assert!((0..FIELD).contains(&x) && (0..FIELD).contains(&y));
        }
    }

    #[test]
    fn an_empty_field_is_six_bytes() {
        let mut field = Field { tick: 258, last_id: 0, players: Vec::new(), encoded: Vec::new() };
        assert_eq!(field.step(), [3, 1, 0, 0, 0, 0]);
        assert_eq!(field.step(), [4, 1, 0, 0, 0, 0]);
    }
}
