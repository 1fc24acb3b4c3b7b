#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| paddock_ollama::fuzz_properties::patterns_match_as_a_naive_matcher_does(input));
