//! `cargo +nightly fuzz run utf8`: see `tidegate::internals::fuzz::utf8`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::internals::fuzz::utf8(data));
