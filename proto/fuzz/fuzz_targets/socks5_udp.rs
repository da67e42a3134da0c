#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| titan_proto::socks5::fuzz_socks5_udp(data));
