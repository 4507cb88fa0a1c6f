//! `cargo +nightly fuzz run server`: see `tidegate::internals::fuzz::server`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::internals::fuzz::server(data));
