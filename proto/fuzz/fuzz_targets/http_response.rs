#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| titan_proto::http::fuzz_http_response(data));
