//! `cargo +nightly fuzz run close`: see `tidegate::internals::fuzz::close_payload`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidegate::internals::fuzz::close_payload(data));
