//! The codec alone: masking, frames, UTF-8, handshake, deadlines. Bytes per second and items per second.
//!
//! `cargo bench --features sim --bench codec`; one subject: `… -- mask`.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::internals::frame::{self, FrameDecoder, Opcode, Role};
use tidegate::internals::handshake;
use tidegate::internals::head::{HeadLimits, HeadScanner, parse_request};
use tidegate::internals::input::Input;
use tidegate::internals::mask;
use tidegate::internals::utf8::Utf8Check;
use tidegate::internals::wheel::{Link, Links, Wheel};

/// Payload sizes on both sides of what the header's length field can hold.
const SIZES: [usize; 5] = [0, 16, 125, 126, 64 * 1024];
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group("mask");
    for size in [16, 125, 1024, 4096, 16 * 1024, 64 * 1024, 1024 * 1024] {
        let mut bytes = vec![0x5a_u8; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| mask::apply(black_box(KEY), black_box(&mut bytes)));
        });
    }
    group.finish();
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    for size in SIZES {
        let mut wire = Vec::new();
        frame::append(&mut wire, true, Opcode::Binary, &vec![7; size], Some(KEY));
        group.throughput(Throughput::Elements(1));
        // The payload is unmasked where it lies, so each round finds it masked differently: the work is the same.
        group.bench_function(BenchmarkId::new("take_whole", size), |b| {
            b.iter(|| {
                let mut input = Input::new(black_box(&mut wire));
                black_box(frame::take_whole(&mut input, Role::Server, usize::MAX)).is_some()
            });
        });
        group.bench_function(BenchmarkId::new("decoder", size), |b| {
            b.iter(|| {
                let mut decoder = FrameDecoder::default();
                let mut input = Input::new(black_box(&mut wire));
                black_box(decoder.next_piece(&mut input, Role::Server)).is_ok()
            });
        });
        let payload = vec![7; size];
        let mut out = Vec::with_capacity(size + 16);
        group.bench_function(BenchmarkId::new("encode", size), |b| {
            b.iter(|| {
                out.clear();
                frame::append(&mut out, true, Opcode::Binary, black_box(&payload), None);
                out.len()
            });
        });
    }
    group.finish();
}

fn texts(c: &mut Criterion) {
    let mut group = c.benchmark_group("utf8");
    for (name, sample) in [("ascii", "plain words "), ("cyrillic", "простые слова "), ("emoji", "🌊⚓")]
    {
        let text = sample.repeat(16 * 1024 / sample.len());
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| Utf8Check::default().piece(black_box(text.as_bytes()))));
    }
    group.finish();
}

fn handshakes(c: &mut Criterion) {
    let request = b"GET /chat HTTP/1.1\r\nHost: example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
        Accept-Encoding: gzip, deflate, br\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: https://example.org\r\n\r\n";
    let limits = HeadLimits { head_max: 8192, target_max: 4096, headers_max: 64 };
    c.bench_function("handshake/scan+parse+check+accept", |b| {
        let mut out = Vec::with_capacity(512);
        b.iter(|| {
            let len = HeadScanner::default().scan(black_box(request), &limits).unwrap().unwrap();
            let mut room = [httparse::EMPTY_HEADER; 128];
            let head = parse_request(&request[..len], &mut room, &limits).unwrap();
            let key = handshake::check_upgrade(&head).unwrap();
            out.clear();
            handshake::write_accept(&mut out, &key, None, []);
            out.len()
        });
    });
}

struct Table(Vec<Link>);

impl Links for Table {
    fn link(&mut self, index: u32) -> &mut Link {
        &mut self.0[index as usize]
    }
}

fn wheel(c: &mut Criterion) {
    const TIMERS: u32 = 1_000_000;
    let mut group = c.benchmark_group("wheel");
    group.throughput(Throughput::Elements(1));
    let mut table = Table(vec![Link::default(); TIMERS as usize]);
    let mut wheel = Wheel::default();
    (0..TIMERS).for_each(|i| wheel.arm(&mut table, i, 2_500 + i % 3_000));
    let mut next = 0;
    group.bench_function("arm again, 1,000,000 armed", |b| {
        b.iter(|| {
            next = (next + 7_919) % TIMERS;
            wheel.arm(&mut table, next, 2_500 + next % 3_000);
        });
    });
    group.throughput(Throughput::Elements(u64::from(TIMERS)));
    group.sample_size(10);
    group.bench_function("arm and fire 1,000,000", |b| {
        b.iter_batched(
            || (Wheel::default(), Table(vec![Link::default(); TIMERS as usize])),
            |(mut wheel, mut table)| {
                (0..TIMERS).for_each(|i| wheel.arm(&mut table, i, 1 + i % 30_000));
                let mut fired = 0;
                for tick in (0..=30_000).step_by(10) {
                    while wheel.pop(&mut table, tick).is_some() {
                        fired += 1;
                    }
                }
                assert_eq!(fired, TIMERS);
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(codec, masking, frames, texts, handshakes, wheel);
criterion_main!(codec);
