//! The value of an `Authorization` header, from the header to the parts of a token.
#![no_main]

libfuzzer_sys::fuzz_target!(|value: &[u8]| ephemint::fuzz::authorization(value));
