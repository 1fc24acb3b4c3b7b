#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| paddock_ollama::fuzz_properties::every_form_of_a_name_parses_to_that_name(input));
