//! An issuer's key set.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| ephemint::fuzz::key_set(text));
