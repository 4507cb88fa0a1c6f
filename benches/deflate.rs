//! Compression: throughput, ratio, and bytes per connection, for text like JSON and for bytes at random, in each mode.
//!
//! `cargo bench --features deflate,sim --bench deflate`; one subject: `… -- json`. Throughput is in bytes of the messages as
//! they were. `shared` forgets after each message, `dedicated` takes its context over.

use std::hint::black_box;

use allocation_counter::measure;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate::internals::deflate::{Deflater, Inflater, ROOM, TAIL};

const SIZES: [usize; 4] = [200, 1_000, 10_000, 100_000];
/// Messages that follow each other on a connection, alike but not the same.
const MESSAGES: usize = 32;
const LEVEL: u8 = 3;
const MEMORY_LEVEL: u8 = 8;
const WINDOW_BITS: u8 = 15;

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// Records with names that repeat and values that do not.
fn json(noise: &mut Noise, len: usize) -> Vec<u8> {
    let mut text = String::from("{\"items\":[");
    while text.len() < len {
        let (id, level, at) = (noise.next() % 100_000, noise.next() % 1_000, noise.next());
        text += &format!(
            "{{\"id\":{id},\"level\":{}.{},\"at\":{at},\"state\":\"{}\",\"open\":{}}},",
            level / 10,
            level % 10,
            ["rising", "falling", "slack"][(at % 3) as usize],
            at % 2 == 0
        );
    }
    text.truncate(len);
    text.into_bytes()
}

fn random(noise: &mut Noise, len: usize) -> Vec<u8> {
    (0..len).map(|_| noise.next() as u8).collect()
}

/// All messages compressed one after the other; what could not be made shorter stands as it was, and is marked.
fn packed(messages: &[Vec<u8>], takeover: bool) -> Vec<(Vec<u8>, bool)> {
    let mut deflater = Deflater::new(LEVEL, MEMORY_LEVEL, WINDOW_BITS);
    let mut room = vec![0; ROOM];
    let pack = |message: &Vec<u8>| {
        let mut out = Vec::new();
        let shorter = deflater.message(message, &mut room, &mut out);
        if !takeover || !shorter {
            deflater.reset();
        }
        if shorter { (out, true) } else { (message.clone(), false) }
    };
    messages.iter().map(pack).collect()
}

fn kinds(c: &mut Criterion) {
    println!("{:<8}{:>10}{:>12}{:>10}", "", "bytes", "mode", "ratio");
    for (name, make) in [("json", json as fn(&mut Noise, usize) -> Vec<u8>), ("random", random)] {
        for size in SIZES {
            let mut noise = Noise(1);
            let messages: Vec<Vec<u8>> = (0..MESSAGES).map(|_| make(&mut noise, size)).collect();
            for (mode, takeover) in [("shared", false), ("dedicated", true)] {
                let packed = packed(&messages, takeover);
                let after: usize = packed.iter().map(|(bytes, _)| bytes.len()).sum();
                println!("{name:<8}{size:>10}{mode:>12}{:>10.2}", (MESSAGES * size) as f64 / after as f64);
                deflate(c, name, mode, &messages, takeover);
                if packed.iter().any(|(_, compressed)| *compressed) {
                    inflate(c, name, mode, &packed, size, takeover);
                }
            }
        }
    }
}

fn deflate(c: &mut Criterion, name: &str, mode: &str, messages: &[Vec<u8>], takeover: bool) {
    let mut group = c.benchmark_group(format!("deflate/{name}"));
    let size = messages[0].len();
    let mut deflater = Deflater::new(LEVEL, MEMORY_LEVEL, WINDOW_BITS);
    let (mut room, mut out, mut at) = (vec![0; ROOM], Vec::new(), 0);
    group.throughput(Throughput::Bytes(size as u64));
    group.bench_function(BenchmarkId::new(mode, size), |b| {
        b.iter(|| {
            out.clear();
            at = (at + 1) % MESSAGES;
            let shorter = deflater.message(black_box(&messages[at]), &mut room, &mut out);
            if !takeover || !shorter {
                deflater.reset();
            }
            out.len()
        });
    });
    group.finish();
}

fn inflate(
    c: &mut Criterion,
    name: &str,
    mode: &str,
    packed: &[(Vec<u8>, bool)],
    size: usize,
    takeover: bool,
) {
    let mut group = c.benchmark_group(format!("inflate/{name}"));
    let mut inflater = Inflater::default();
    let (mut room, mut at) = (vec![0; ROOM], 0);
    group.throughput(Throughput::Bytes(size as u64));
    group.bench_function(BenchmarkId::new(mode, size), |b| {
        b.iter(|| {
            // The first message has nothing to look back at: from there the sequence begins anew.
            if !takeover || at == 0 {
                inflater.reset();
            }
            let mut made = 0;
            for mut part in [&packed[at].0[..], &TAIL] {
                while let Ok(len) = inflater.step(black_box(&mut part), &mut room) {
                    made += len;
                    if len < room.len() {
                        break;
                    }
                }
            }
            at = (at + 1) % MESSAGES;
            made
        });
    });
    group.finish();
}

/// What is allocated for a connection's own compressor and inflater; with `shared`, nothing is.
fn connections(_: &mut Criterion) {
    println!("{:<24}{:>12}{:>12}", "bytes per connection", "compressor", "inflater");
    let mut kept = Vec::new();
    let inflater = measure(|| kept.push(Inflater::default())).bytes_current;
    for (memory_level, window_bits) in [(8, 15), (5, 12), (1, 9)] {
        let mut kept = None;
        let deflater = measure(|| kept = Some(Deflater::new(LEVEL, memory_level, window_bits))).bytes_current;
        println!(
            "{:<24}{deflater:>12}{inflater:>12}",
            format!("window {window_bits}, memory {memory_level}")
        );
    }
}

criterion_group!(benches, connections, kinds);
criterion_main!(benches);
