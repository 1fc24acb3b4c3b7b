#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| paddock_ollama::fuzz_properties::bodies_are_scanned_as_serde_json_parses_them(input));
