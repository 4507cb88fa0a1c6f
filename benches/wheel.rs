//! The wheel of deadlines with a million of them armed.
//!
//! `cargo bench --features sim --bench wheel`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::internals::wheel::{Link, Links, Wheel};

const TIMERS: u32 = 1_000_000;
/// A prime: steps of it visit all timers, far from each other.
const STRIDE: u32 = 7_919;

struct Table(Vec<Link>);

impl Links for Table {
    fn link(&mut self, index: u32) -> &mut Link {
        &mut self.0[index as usize]
    }
}

/// Deadlines between 25 and 55 seconds ahead.
fn full() -> (Wheel, Table) {
    let mut table = Table(vec![Link::default(); TIMERS as usize]);
    let mut wheel = Wheel::default();
    (0..TIMERS).for_each(|i| wheel.arm(&mut table, i, 2_500 + i % 3_000));
    (wheel, table)
}

fn one_at_a_time(c: &mut Criterion) {
    let mut group = c.benchmark_group("wheel/1,000,000 armed");
    group.throughput(Throughput::Elements(1));
    let (mut wheel, mut table) = full();
    let mut next = 0;
    group.bench_function("arm again", |b| {
        b.iter(|| {
            next = (next + STRIDE) % TIMERS;
            wheel.arm(&mut table, next, 2_500 + next % 3_000);
        });
    });
    group.bench_function("cancel and arm", |b| {
        b.iter(|| {
            next = (next + STRIDE) % TIMERS;
            wheel.cancel(&mut table, next);
            wheel.arm(&mut table, next, 2_500 + next % 3_000);
        });
    });
    group.bench_function("next deadline", |b| b.iter(|| black_box(&wheel).next()));
    group.finish();
}

fn all(c: &mut Criterion) {
    let mut group = c.benchmark_group("wheel");
    group.throughput(Throughput::Elements(u64::from(TIMERS)));
    group.sample_size(10);
    group.bench_function("arm 1,000,000", |b| {
        b.iter_batched(|| (), |()| full(), BatchSize::PerIteration);
    });
    group.bench_function("fire 1,000,000", |b| {
        b.iter_batched(
            full,
            |(mut wheel, mut table)| {
                let mut fired = 0;
                for tick in (0..=5_500).step_by(10) {
                    while wheel.pop(&mut table, tick).is_some() {
                        fired += 1;
                    }
                }
                assert_eq!(fired, TIMERS);
                (wheel, table)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(wheel, one_at_a_time, all);
criterion_main!(wheel);
