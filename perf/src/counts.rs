//! Instructions of protocol work, counted by callgrind: the one figure that repeats to the digit.
//!
//! `titan-counts` does a piece of work a given number of times. It is run twice, and the
//! difference divided by the difference of the numbers: what a process takes to start drops out.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// Iterations of the two runs. Long enough that buffers that grow at first have stopped growing.
const ITERATIONS: [u32; 2] = [300, 1300];

/// Copies by vector registers only, whatever the length.
const NO_REP: &str = "glibc.cpu.x86_rep_movsb_threshold=1073741824:\
    glibc.cpu.x86_rep_stosb_threshold=1073741824";

/// What the counts were at some commit, `perf/baseline.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The compiler; another one makes other instructions of the same source.
    pub rustc: String,
    /// By how many percent a count may grow before it fails the tests.
    pub tolerance_percent: f64,
    /// Instructions by driver.
    pub instructions: BTreeMap<String, f64>,
}

/// A count that has grown beyond the tolerance.
#[derive(Debug, Clone, PartialEq)]
pub struct Regression {
    /// The driver.
    pub driver: String,
    /// What it took.
    pub before: f64,
    /// What it takes.
    pub now: f64,
}

impl Baseline {
    /// The file in this crate.
    pub fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.json")
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is missing or no baseline.
    pub fn read() -> Result<Self> {
        let path = Self::path();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self) -> Result<()> {
        Ok(fs::write(
            Self::path(),
            serde_json::to_string_pretty(self)? + "\n",
        )?)
    }

    /// Which of `counts` have grown too much. A driver without a baseline has nothing to grow
    /// from.
    pub fn regressions(&self, counts: &BTreeMap<String, f64>) -> Vec<Regression> {
        let limit = 1.0 + self.tolerance_percent / 100.0;
        let grown = |(driver, &now): (&String, &f64)| {
            let before = *self.instructions.get(driver)?;
            let driver = driver.clone();
            (now > before * limit).then_some(Regression {
                driver,
                before,
                now,
            })
        };
        counts.iter().filter_map(grown).collect()
    }
}

/// Whether valgrind is here.
pub fn is_available() -> bool {
    Command::new("valgrind")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// The compiler that builds this workspace, as it names itself.
///
/// # Errors
/// There is none.
pub fn rustc() -> Result<String> {
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .context("rustc")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Builds `titan-counts` with the release profile and gives its path.
///
/// # Errors
/// It does not compile.
pub fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "titan-counts"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("starting cargo")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "building titan-counts: {errors}");
    let executable = |line: &[u8]| {
        let message: serde_json::Value = serde_json::from_slice(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    };
    let built = output
        .stdout
        .split(|&byte| byte == b'\n')
        .find_map(executable);
    built.context("cargo names no program")
}

/// Instructions of every driver of `program`.
///
/// # Errors
/// valgrind is missing, or a driver fails.
pub fn count_all(program: &Path) -> Result<BTreeMap<String, f64>> {
    let names = Command::new(program).output()?;
    let names = String::from_utf8(names.stdout)?;
    names
        .lines()
        .map(|name| Ok((name.to_owned(), count(program, name)?)))
        .collect()
}

/// Instructions of one turn of one driver.
fn count(program: &Path, driver: &str) -> Result<f64> {
    let [few, many] = ITERATIONS.map(|iterations| total(program, driver, iterations));
    let difference = many?
        .checked_sub(few?)
        .context("more work took fewer instructions")?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(difference as f64 / f64::from(ITERATIONS[1] - ITERATIONS[0]))
}

fn total(program: &Path, driver: &str, iterations: u32) -> Result<u64> {
    let out = tempfile::NamedTempFile::new()?;
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.path().display()))
        .arg(program)
        .args([driver, &iterations.to_string()])
        // Callgrind counts each turn of `rep movsb` as an instruction; a copy would count by its
        // bytes, and differently where the processor has no fast one.
        .env("GLIBC_TUNABLES", NO_REP)
        .output()
        .context("starting valgrind")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{driver} under valgrind: {errors}");
    let text = fs::read_to_string(out.path())?;
    let summary = text.lines().find_map(|line| line.strip_prefix("summary: "));
    let summary = summary.with_context(|| format!("callgrind gives no summary: {errors}"))?;
    summary.trim().parse().context("callgrind's summary")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_growth_beyond_the_tolerance_is_a_regression() {
        let counts = |text| serde_json::from_str::<BTreeMap<String, f64>>(text).unwrap();
        let baseline = Baseline {
            rustc: String::new(),
            tolerance_percent: 5.0,
            instructions: counts(r#"{"a": 100, "b": 100, "c": 100}"#),
        };
        let now = counts(r#"{"a": 104.9, "b": 105.1, "c": 10, "new": 1000000}"#);
        let driver = "b".to_owned();
        let expected = Regression {
            driver,
            before: 100.0,
            now: 105.1,
        };
        assert_eq!(baseline.regressions(&now), [expected]);
    }
}
