//! `cargo +nightly fuzz run frames`: see `tidegate::internals::fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::internals::fuzz::frames(data));
