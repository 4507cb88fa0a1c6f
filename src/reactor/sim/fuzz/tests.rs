//! The fuzz bodies on the corpus, on mutations of it, and on noise, from a fixed seed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use super::{BODIES, Body};
use crate::ground::rng::Rng;

/// Inputs made per body; whole servers take longer than decoders.
fn inputs_of(name: &str) -> usize {
    if name == "server" { 2_000 } else { 5_000 }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("a folder per body")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a readable file")).collect()
}

/// Runs a body; says on which bytes it panicked.
fn run(name: &str, body: Body, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(input))) {
        eprintln!("fuzz body {name} panicked on b\"{}\"", input.escape_ascii());
        resume_unwind(panic);
    }
}

fn mutate(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let pick = |rng: &mut Rng| seeds[rng.below(seeds.len() as u64) as usize].clone();
    let mut bytes = pick(rng);
    for _ in 0..1 + rng.below(6) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        match rng.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = rng.next_u64() as u8,
            2 => bytes.truncate(at.max(2)),
            3 => bytes.insert(at, rng.next_u64() as u8),
            4 => bytes.extend(pick(rng).iter().skip(2)),
            _ if at < bytes.len() => drop(bytes.remove(at)),
            _ => {}
        }
    }
    bytes.truncate(4_000);
    bytes
}

fn noise(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = vec![0; rng.below(200) as usize];
    rng.fill(&mut bytes);
    bytes
}

#[test]
fn bodies_hold_on_corpus_mutations_and_noise() {
    for &(name, body) in BODIES {
        let seeds = corpus(name);
        assert!(seeds.len() >= 3, "the corpus of {name} is too small");
        seeds.iter().for_each(|seed| run(name, body, seed));
        let mut rng = Rng::new(0x0066_757a_7a00);
        for i in 0..inputs_of(name) {
            let input = if i % 8 == 0 { noise(&mut rng) } else { mutate(&mut rng, &seeds) };
            run(name, body, &input);
        }
    }
}
