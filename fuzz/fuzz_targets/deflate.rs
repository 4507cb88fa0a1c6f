//! `cargo +nightly fuzz run deflate`: see `tidegate::internals::fuzz::deflate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::internals::fuzz::deflate(data));
