//! `cargo +nightly fuzz run body`: see `tidegate::internals::fuzz::body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::internals::fuzz::body(data));
