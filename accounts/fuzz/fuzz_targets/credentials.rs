#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| paddock_accounts::fuzz_properties::only_whole_keys_are_keys(input));
