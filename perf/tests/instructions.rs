//! The protocol's work must not take more instructions than it did.
//!
//! A change that is worth its price replaces the baseline: `titan-perf counts --write-baseline`.

use titan_perf::counts::{self, Baseline};

#[test]
fn no_count_has_grown_beyond_the_tolerance() {
    if !counts::is_available() {
        eprintln!("skipped: valgrind is not installed, nothing can count instructions");
        return;
    }
    let baseline = Baseline::read().unwrap();
    let rustc = counts::rustc().unwrap();
    if rustc != baseline.rustc {
        let theirs = baseline.rustc;
        eprintln!("skipped: the baseline was made by {theirs}, this is {rustc}");
        return;
    }
    let now = counts::count_all(&counts::build().unwrap()).unwrap();
    let missing: Vec<_> = baseline
        .instructions
        .keys()
        .filter(|driver| !now.contains_key(*driver))
        .collect();
    assert!(missing.is_empty(), "nothing counts {missing:?} any more");
    let regressions = baseline.regressions(&now);
    assert!(
        regressions.is_empty(),
        "more than {} % more instructions: {regressions:#?}",
        baseline.tolerance_percent
    );
}
