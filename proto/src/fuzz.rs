//! The fuzz targets of this crate.
//!
//! Each lives beside the code it tests and is listed in [`TARGETS`]. `fuzz/fuzz_targets` holds a
//! two-line binary per target for `cargo fuzz`; the test below runs all of them on their seeds and
//! on some thousands of mutations, so that stable compilers exercise them too.

/// Takes any input and panics when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target, by the name of its binary and of its folder in `fuzz/seeds`.
pub const TARGETS: &[(&str, Target)] = &[
    ("http_head", crate::http::fuzz_http_head),
    ("http_response", crate::http::fuzz_http_response),
    ("mux_input", crate::mux::fuzz::input),
    ("mux_operations", crate::mux::fuzz::operations),
    ("socks5_server", crate::socks5::fuzz_socks5_server),
    ("socks5_udp", crate::socks5::fuzz_socks5_udp),
    ("target_codec", crate::addr::fuzz_target_codec),
    ("ws_deframer", crate::ws::fuzz::deframer),
    ("ws_upgrade", crate::ws::fuzz::upgrade),
];

/// Cuts `input` into segments whose lengths follow from `seed`: single bytes for 0, otherwise 1 to
/// 64 bytes by a linear congruential generator.
pub fn segments(mut input: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed);
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(u32::from(seed));
        let len = 1 + (state >> 26) as usize;
        let (segment, rest) = input.split_at(len.min(input.len()));
        input = rest;
        (!segment.is_empty()).then_some(segment)
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, panic, path::Path};

    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    /// Mutations per target: a tenth of a second of a debug build.
    const MUTATIONS: usize = 10_000;

    #[test]
    fn every_target_survives_its_seeds_and_their_mutations() {
        for (name, target) in TARGETS {
            let seeds = seeds(name);
            let mut rng = StdRng::seed_from_u64(1);
            let mutations = (0..MUTATIONS).map(|_| mutation(&seeds, &mut rng));
            for input in seeds.iter().cloned().chain(mutations) {
                let survived = panic::catch_unwind(|| target(&input)).is_ok();
                assert!(survived, "{name} panics on {}", hex::encode(&input));
            }
        }
    }

    #[test]
    fn every_target_has_a_binary() {
        let listed: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(file_stems("fuzz/fuzz_targets"), listed);
        let manifest = fs::read_to_string(folder("fuzz/Cargo.toml")).expect("the fuzz workspace");
        for name in listed {
            assert!(
                manifest.contains(&format!("name = \"{name}\"")),
                "{name} has no [[bin]]"
            );
        }
    }

    /// A seed with a few bytes changed, and maybe another seed's end instead of its own.
    fn mutation(seeds: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
        let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
        if rng.random_bool(0.3) {
            let other = &seeds[rng.random_range(0..seeds.len())];
            bytes.truncate(rng.random_range(0..=bytes.len()));
            bytes.extend_from_slice(&other[rng.random_range(0..=other.len())..]);
        }
        for _ in 0..rng.random_range(0..4) {
            let at = rng.random_range(0..=bytes.len());
            match rng.random_range(0..3) {
                0 => bytes.insert(at, rng.random()),
                1 if at < bytes.len() => bytes[at] = rng.random(),
                _ => bytes.truncate(at.max(bytes.len() / 2)),
            }
        }
        bytes
    }

    fn seeds(name: &str) -> Vec<Vec<u8>> {
        let entries =
            fs::read_dir(folder("fuzz/seeds").join(name)).expect("every target has seeds");
        let mut paths: Vec<_> = entries
            .map(|entry| entry.expect("readable").path())
            .collect();
        paths.sort();
        assert!(!paths.is_empty(), "{name} has no seeds");
        paths
            .iter()
            .map(|path| fs::read(path).expect("readable"))
            .collect()
    }

    fn file_stems(path: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(folder(path)).expect("the folder of the fuzz targets");
        let paths = entries.map(|entry| entry.expect("readable").path());
        paths
            .filter_map(|path| path.file_stem()?.to_str().map(str::to_owned))
            .collect()
    }

    fn folder(path: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
    }
}
