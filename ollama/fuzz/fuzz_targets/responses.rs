#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| paddock_ollama::fuzz_properties::chunking_does_not_change_a_response(input));
