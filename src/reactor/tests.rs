//! How turns go, counted on the simulated network: what each such setting does more or less often.
//!
//! Refuses to know the kernel. Invariant: whatever the setting, the peers hear the same bytes.

use std::time::Duration;

use super::sim::rig::Rig;
use crate::conn::message::Message;
use crate::ground::id::ConnId;
use crate::ground::limits::Limits;
use crate::hub::context::Context;
use crate::hub::handler::Handler;
use crate::wire::frame::{self, Opcode};

/// Bytes in a pipe where nothing is to fill up.
const WIDE: usize = 1 << 20;

/// Sends everything to the connection that was opened first.
#[derive(Default)]
struct ToFirst {
    first: Option<ConnId>,
}

impl Handler for ToFirst {
    fn on_open(&mut self, _: &mut Context<'_>, conn: ConnId) {
        self.first.get_or_insert(conn);
    }

    fn on_message(&mut self, cx: &mut Context<'_>, _: ConnId, msg: Message<'_>) {
        if let Some(first) = self.first {
            cx.send(first, msg);
        }
    }
}

fn rig(connections: usize, pipe: usize, change: impl FnOnce(&mut Limits)) -> Rig<ToFirst> {
    Rig::with(connections, pipe, ToFirst::default(), change)
}

/// A message of so many bytes, as a client sends it.
fn message(len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, true, Opcode::Binary, &vec![7; len], Some([1, 2, 3, 4]));
    bytes
}

#[test]
fn short_read_rule_spares_the_read_that_finds_nothing() {
    for (rule, reads, empty) in [(true, 1, 0), (false, 2, 1)] {
        let mut rig = rig(1, WIDE, |limits| limits.short_read_rule = rule);
        let before = rig.stats();
        rig.deliver(0, &message(20));
        rig.turn();
        let stats = rig.stats();
        assert_eq!((stats.reads - before.reads, stats.reads_empty - before.reads_empty), (reads, empty));
        assert_eq!(rig.take_output(0), 22);
    }
}

#[test]
fn flush_per_turn_gathers_what_one_peer_is_sent() {
    // The first one's own reply, and behind it what the two others send to it.
    for (per_turn, writes) in [(false, 2), (true, 1)] {
        let mut rig = rig(3, WIDE, |limits| limits.flush_per_turn = per_turn);
        let before = rig.stats();
        for conn in 0..3 {
            rig.deliver(conn, &message(20));
        }
        rig.turn();
        let stats = rig.stats();
        assert_eq!(stats.writes - before.writes, writes, "{per_turn}");
        assert_eq!(rig.take_output(0), 3 * 22);
        assert_eq!((stats.queued_bytes, stats.memory_bytes), (0, 0));
    }
}

#[test]
fn write_interest_spares_asking_when_a_peer_does_not_keep_up() {
    for (always, calls) in [(false, 2), (true, 0)] {
        let mut rig = rig(1, 1_000, |limits| limits.write_interest = always);
        let before = (rig.io().interest_calls(), rig.stats());
        // Three times what the pipe to the peer holds.
        let (bytes, mut heard) = (message(3_000), 0);
        let mut rest = bytes.as_slice();
        while heard < 3_004 {
            rest = &rest[rig.deliver(0, rest)..];
            rig.turn();
            heard += rig.take_output(0);
        }
        rig.turn();
        assert_eq!(rig.io().interest_calls() - before.0, calls, "{always}");
        assert!(rig.stats().writes_short > before.1.writes_short);
        assert_eq!(heard, 3_004);
    }
}

#[test]
fn spin_looks_without_sleeping_and_then_sleeps() {
    let ms = Duration::from_millis;
    let stirred = |spin: Duration| {
        let mut rig = rig(1, WIDE, |limits| limits.spin = spin);
        // What the opening handshake has stirred up is long ago.
        rig.turn_within(ms(50));
        rig.deliver(0, &message(20));
        rig.turn();
        rig
    };
    for (spin, spins) in [(Duration::ZERO, false), (ms(1), true)] {
        let mut rig = stirred(spin);
        let before = rig.stats();
        assert!(rig.turn_within(ms(10)) >= ms(10));
        let stats = rig.stats();
        assert_eq!(stats.spins > before.spins, spins);
        assert_eq!(stats.waits - before.waits, stats.spins - before.spins + 1);
        assert!(rig.io().has_slept(), "the rest of the time it sleeps");
        rig.turn_within(ms(10));
        assert_eq!(rig.stats().spins, stats.spins, "the last event is long ago");
        // What comes while it spins is served in the same turn.
        rig.deliver(0, &message(20));
        rig.turn_within(ms(10));
        assert_eq!(rig.take_output(0), 2 * 22);
    }
    // A longer spin than the turn may wait ends with the wait.
    let mut rig = rig(1, WIDE, |limits| limits.spin = ms(1_000));
    let took = rig.turn_within(ms(2));
    assert!(took >= ms(2) && took < ms(3), "{took:?}");
}

/// Opens `connections` at different times within a quarter of a second, and lets time pass to the first turn that sends Pings.
fn pinged(connections: usize, change: impl FnOnce(&mut Limits)) -> Rig<ToFirst> {
    let ms = Duration::from_millis;
    let mut rig = rig(1, WIDE, |limits| {
        limits.ping_interval = Duration::from_secs(25);
        change(limits);
    });
    for _ in 1..connections {
        rig.turn_within(ms(250) / connections as u32);
        rig.open(1);
    }
    while rig.stats().pings_out == 0 {
        rig.turn_within(ms(1_000));
    }
    rig
}

#[test]
fn pings_of_many_go_out_together() {
    // Some of them may fall into the next moment, which begins at a multiple of 0.64 s.
    let mut rig = pinged(20, |_| {});
    let first = rig.stats();
    rig.turn_within(Duration::from_millis(640));
    let stats = rig.stats();
    assert_eq!(stats.pings_out, 20, "in two turns");
    assert!(first.pings_out >= 10 || stats.pings_out - first.pings_out >= 10);
    assert_eq!((stats.writes_short, stats.queued_bytes, stats.memory_bytes), (0, 0, 0));
    (0..20).for_each(|conn| assert_eq!(rig.take_output(conn), 2, "{conn}"));
}

#[test]
fn a_ping_that_does_not_fit_waits_and_goes_out_once() {
    let mut rig = rig(1, 300, |limits| limits.ping_interval = Duration::from_secs(25));
    // Their echoes fill the pipe but for one byte.
    for len in [289, 4] {
        rig.deliver(0, &message(len));
        rig.turn();
    }
    while rig.stats().pings_out == 0 {
        rig.turn_within(Duration::from_millis(1_000));
    }
    assert_eq!((rig.stats().queued_bytes, rig.take_output(0)), (1, 300));
    rig.turn();
    assert_eq!((rig.stats().queued_bytes, rig.take_output(0)), (0, 1));
    rig.turn();
    assert_eq!(rig.take_output(0), 0);
}

#[test]
fn limit_expire_budget() {
    let mut rig = pinged(20, |limits| limits.expire_budget = 3);
    assert_eq!((rig.stats().pings_out, rig.stats().budget_expire), (3, 1));
    let mut more = true;
    while rig.stats().pings_out < 20 {
        let before = rig.stats();
        let took = rig.turn_within(Duration::from_millis(640));
        let stats = rig.stats();
        assert!(stats.pings_out - before.pings_out <= 3);
        assert!(!more || took < Duration::from_millis(1), "slept while more was due: {took:?}");
        more = stats.budget_expire > before.budget_expire;
    }
    assert!(rig.stats().budget_expire >= 5, "three a turn");
}

#[test]
fn spin_keeps_no_timer_waiting() {
    #[derive(Default)]
    struct Clock(Vec<u64>);
    impl Handler for Clock {
        fn on_start(&mut self, cx: &mut Context<'_>) {
            cx.set_timer(Duration::from_millis(10), 1);
        }
        fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
        fn on_timer(&mut self, _: &mut Context<'_>, tag: u64) {
            self.0.push(tag);
        }
    }
    let mut rig = Rig::with(1, WIDE, Clock::default(), |limits| limits.spin = Duration::from_millis(100));
    let mut passed = Duration::ZERO;
    while rig.app().0.is_empty() {
        passed += rig.turn_within(Duration::from_millis(5));
    }
    assert!(passed < Duration::from_millis(30), "{passed:?}");
    assert!(rig.stats().spins > 0);
}
