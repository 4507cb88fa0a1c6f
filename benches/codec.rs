//! The codec alone: masking, frames, UTF-8, handshake. Bytes per second and items per second.
//!
//! `cargo bench --features sim --bench codec`; one subject: `… -- mask`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::internals::frame::{self, FrameDecoder, Opcode, Role};
use tidegate::internals::handshake;
use tidegate::internals::head::{HeadLimits, HeadScanner, parse_request};
use tidegate::internals::input::Input;
use tidegate::internals::mask;
use tidegate::internals::utf8::{self, Utf8Check};

/// Payload sizes on both sides of what the header's length field can hold.
const SIZES: [usize; 6] = [0, 16, 20, 125, 126, 64 * 1024];
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A payload of so many bytes, counted as one and by its bytes.
fn one(size: usize) -> Throughput {
    Throughput::ElementsAndBytes { elements: 1, bytes: size as u64 }
}

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group("mask");
    for size in [0, 4, 8, 16, 20, 64, 125, 126, 1024, 4096, 16 * 1024, 64 * 1024, 1024 * 1024] {
        // Payloads lie where a header of six bytes has ended: as a rule, nothing is aligned.
        let mut bytes = vec![0x5a_u8; size + 6];
        group.throughput(one(size));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| mask::apply(black_box(KEY), black_box(&mut bytes[6..])));
        });
    }
    group.finish();
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    for size in SIZES {
        let mut wire = Vec::new();
        frame::append(&mut wire, true, Opcode::Binary, &vec![7; size], Some(KEY));
        group.throughput(one(size));
        // The payload is unmasked where it lies, so each round finds it masked differently: the work is the same.
        group.bench_function(BenchmarkId::new("take_whole", size), |b| {
            b.iter(|| {
                let mut input = Input::new(black_box(&mut wire));
                black_box(frame::take_whole(&mut input, Role::Server, u64::MAX)).is_some()
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

/// Our check of a whole text and of a piece, and the two that it is made of.
fn texts(c: &mut Criterion) {
    let mut group = c.benchmark_group("utf8");
    for (name, sample) in [("ascii", "plain words "), ("cyrillic", "простые слова "), ("emoji", "🌊⚓")]
    {
        for size in [0, 8, 16, 20, 32, 48, 64, 96, 125, 126, 256, 1024, 16 * 1024, 64 * 1024, 1024 * 1024] {
            let text: String = sample
                .chars()
                .cycle()
                .scan(0, |len, c| {
                    *len += c.len_utf8();
                    (*len <= size).then_some(c)
                })
                .collect();
            let bytes = text.as_bytes();
            group.throughput(one(bytes.len()));
            group.bench_function(format!("{name}/std/{size}"), |b| {
                b.iter(|| std::str::from_utf8(black_box(bytes)).is_ok());
            });
            group.bench_function(format!("{name}/simdutf8/{size}"), |b| {
                b.iter(|| simdutf8::basic::from_utf8(black_box(bytes)).is_ok());
            });
            group.bench_function(format!("{name}/whole/{size}"), |b| {
                b.iter(|| utf8::is_text(black_box(bytes)))
            });
            group.bench_function(format!("{name}/piece/{size}"), |b| {
                b.iter(|| Utf8Check::default().piece(black_box(bytes)));
            });
        }
    }
    group.finish();
}

fn handshakes(c: &mut Criterion) {
    let request = b"GET /chat HTTP/1.1\r\nHost: example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
        Accept-Encoding: gzip, deflate, br\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: https://example.org\r\n\r\n";
    let limits = HeadLimits { head_max: 8192, target_max: 4096, headers_max: 64 };
    let mut group = c.benchmark_group("handshake");
    group.throughput(one(request.len()));
    group.bench_function("scan+parse+check+accept", |b| {
        let mut out = Vec::with_capacity(512);
        b.iter(|| {
            let len = HeadScanner::default().scan(black_box(request), &limits).unwrap().unwrap();
            let mut room = [httparse::EMPTY_HEADER; 128];
            let head = parse_request(&request[..len], &mut room, &limits).unwrap();
            let key = handshake::check_upgrade(&head).unwrap();
            out.clear();
            handshake::write_accept(&mut out, &key, None, None, []);
            out.len()
        });
    });
    group.finish();
}

criterion_group!(codec, masking, frames, texts, handshakes);
criterion_main!(codec);
