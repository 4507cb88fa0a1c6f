//! `cargo +nightly fuzz run head`: see `tidegate::internals::fuzz::head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::internals::fuzz::head(data));
