//! Topics: joining, leaving and publishing with 1 to 100,000 subscribers and payloads of 0 bytes to 64 KiB, on the simulated
//! network.
//!
//! `cargo bench --features sim --bench topics`.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::internals::frame::{self, Opcode};
use tidegate::internals::rig::Rig;
use tidegate::{ConnId, Context, Handler, Message};

const SIZES: [usize; 3] = [1, 1_000, 100_000];
/// On both sides of what the header's length field can hold.
const PAYLOADS: [usize; 5] = [0, 16, 125, 126, 64 * 1024];

/// Remembers who has come; says nothing.
#[derive(Default)]
struct Guests(Vec<ConnId>);

impl Handler for Guests {
    fn on_open(&mut self, _: &mut Context<'_>, conn: ConnId) {
        self.0.push(conn);
    }

    fn on_message(&mut self, _: &mut Context<'_>, _: ConnId, _: Message<'_>) {}
}

/// A loop whose connections all subscribe to a topic, and one more, which does not.
fn crowd(subscribers: usize) -> (Rig<Guests>, Vec<ConnId>) {
    let mut rig = Rig::new(subscribers + 1, Guests::default());
    let guests = std::mem::take(&mut rig.app().0);
    let mut cx = rig.context();
    for &guest in &guests[1..] {
        assert!(cx.subscribe(guest, "all").is_ok());
    }
    (rig, guests)
}

fn topics(c: &mut Criterion) {
    let mut group = c.benchmark_group("topics");
    for size in SIZES {
        let (mut rig, guests) = crowd(size);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("join+leave", size), |b| {
            let mut cx = rig.context();
            b.iter(|| {
                let joined = cx.subscribe(guests[0], "all").is_ok();
                assert!(joined && cx.unsubscribe(guests[0], "all"));
            });
        });
        // The first to have come leaves, so that another takes its place in the list, and joins again.
        group.bench_function(BenchmarkId::new("leave+join in turn", size), |b| {
            let mut cx = rig.context();
            let mut next = 1;
            b.iter(|| {
                assert!(cx.unsubscribe(guests[next], "all") && cx.subscribe(guests[next], "all").is_ok());
                next = next % size + 1;
            });
        });
        group.sample_size(if size > 10_000 { 10 } else { 100 });
        publish(&mut group, &mut rig, size, 20);
    }
    group.sample_size(20);
    for bytes in PAYLOADS {
        let (mut rig, _) = crowd(1_000);
        publish(&mut group, &mut rig, 1_000, bytes);
    }
    group.finish();
}

fn publish(
    group: &mut BenchmarkGroup<'_, WallTime>,
    rig: &mut Rig<Guests>,
    subscribers: usize,
    bytes: usize,
) {
    let elements = subscribers as u64;
    group.throughput(Throughput::ElementsAndBytes { elements, bytes: elements * bytes as u64 });
    let payload = vec![b'x'; bytes];
    let mut wire = Vec::new();
    frame::append(&mut wire, true, Opcode::Binary, &payload, None);
    let all = subscribers * wire.len();
    let name = format!("{subscribers}x{bytes}");
    group.bench_function(BenchmarkId::new("publish and write to all", name), |b| {
        b.iter(|| {
            assert_eq!(rig.context().publish("all", Message::binary(&payload[..])), subscribers);
            let mut heard = 0;
            while heard < all {
                rig.turn();
                heard += (1..=subscribers).map(|conn| rig.take_output(conn)).sum::<usize>();
            }
            assert_eq!(heard, all);
        });
    });
}

criterion_group!(subjects, topics);
criterion_main!(subjects);
