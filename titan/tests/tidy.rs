//! What the code promises about itself, proven by reading it: which module may import which, that
//! the protocol crate knows no runtime, where `unsafe` may stand, and how long things get.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The stages of a connection's life in each program. A stage imports only from stages behind it;
/// stages in one pair of brackets do not import each other.
const STAGES: [(&str, &[&[&str]]); 3] = [
    (
        "pop",
        &[
            &["server"],
            &["shard"],
            &["control", "admin"],
            &["ingress"],
            &["relay"],
            &["route"],
            &["tunnel"],
            &["mesh"],
            &["users", "metrics"],
            &["directory"],
            &["net"],
            &["config"],
            &["limits", "error"],
        ],
    ),
    (
        "edge",
        &[
            &["agent"],
            &["tunnel"],
            &["session"],
            &["dial", "policy", "resolve", "link"],
            &["net"],
            &["manager", "backoff"],
            &["identity", "config", "metrics"],
            &["limits", "error"],
        ],
    ),
    (
        "manager",
        &[
            &["server"],
            &["api"],
            &["assignment", "identity"],
            &["store"],
            &["config"],
            &["limits", "error"],
        ],
    ),
];

/// The only files that may hold `unsafe`, each with a SAFETY comment per block (clippy sees to it).
const UNSAFE_FILES: [&str; 1] = ["pop/src/net/raw.rs"];

/// Lines of a file and of a function beyond which a reader loses the thread.
const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 70;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust source below `folder`, with its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            found.push((path, text));
        }
    }
    found
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let crates = [
        "proto", "pop", "edge", "manager", "titan", "benches", "perf",
    ];
    crates
        .iter()
        .flat_map(|name| sources(&root().join(name).join("src")))
        .collect()
}

/// The crate's modules that a source names, as in `crate::net::Socket` or `crate::{net, limits}`.
fn imports(text: &str) -> BTreeSet<String> {
    let word = |text: &str| {
        let end = text
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len());
        text[..end].to_owned()
    };
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code: String = code.collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        let Some(group) = part.strip_prefix('{') else {
            found.insert(word(part));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.insert(word(item.trim()));
                    item.clear();
                }
                _ if depth == 0 => item.push(c),
                _ => {}
            }
        }
        found.insert(word(item.trim()));
    }
    found
}

#[test]
fn modules_import_only_later_stages() {
    for (program, stages) in STAGES {
        let position = |module: &str| stages.iter().position(|stage| stage.contains(&module));
        let src = root().join(program).join("src");
        for (path, text) in sources(&src) {
            let inner = path.strip_prefix(&src).expect("below src");
            let first = inner.components().next().expect("a name").as_os_str();
            let module = first.to_string_lossy().trim_end_matches(".rs").to_owned();
            if ["main", "lib"].contains(&module.as_str()) {
                continue;
            }
            let own =
                position(&module).unwrap_or_else(|| panic!("{program}: {module} is no stage"));
            for import in imports(&text).iter().filter(|import| **import != module) {
                let Some(other) = position(import) else {
                    continue; // An item of the crate's root.
                };
                assert!(
                    own < other,
                    "{program}: {} imports {import}",
                    inner.display()
                );
            }
        }
    }
}

#[test]
fn the_import_reader_sees_what_it_should() {
    let text = "use crate::{net::{Socket, self}, limits};\nlet x = crate::error::E;\n// crate::no";
    let expected = ["error", "limits", "net"].map(str::to_owned);
    assert_eq!(imports(text), BTreeSet::from(expected));
}

#[test]
fn unsafe_stands_only_where_it_may() {
    for (path, text) in all_sources() {
        let allowed = UNSAFE_FILES.iter().any(|file| path.ends_with(file));
        let found = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == "unsafe")
        });
        assert!(allowed || !found, "unsafe in {}", path.display());
    }
}

#[test]
fn the_protocol_crate_knows_no_runtime() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "titan-proto",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--all-features", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo");
    let tree = String::from_utf8(output.stdout).expect("text");
    assert!(
        tree.starts_with("titan-proto "),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for runtime in [
        "tokio",
        "monoio",
        "mio",
        "async-std",
        "smol",
        "io-uring",
        "tracing",
        "log",
    ] {
        let found = tree
            .lines()
            .any(|line| line.split(' ').next() == Some(runtime));
        assert!(!found, "titan-proto depends on {runtime}:\n{tree}");
    }
}

#[test]
fn files_and_functions_stay_short() {
    for (path, text) in all_sources() {
        let lines = text.lines().count();
        assert!(
            lines <= MAX_FILE_LINES,
            "{} has {lines} lines",
            path.display()
        );
        for (name, length) in functions(&text) {
            let file = path.display();
            assert!(
                length <= MAX_FUNCTION_LINES,
                "{file}: fn {name} has {length} lines"
            );
        }
    }
}

/// The functions of a formatted source and their lengths: from `fn` to the brace at its indent.
fn functions(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match &open {
            Some((name, start, at)) if indent == *at && line.trim_start().starts_with('}') => {
                found.push((name.clone(), number + 1 - start));
                open = None;
            }
            Some(_) => {}
            None => {
                let Some((before, after)) = line.split_once("fn ") else {
                    continue;
                };
                let is_item = before.split_whitespace().all(|word| {
                    word.starts_with("pub")
                        || ["async", "const", "unsafe"].contains(&word)
                        || word.ends_with(')')
                });
                let name = after.split(['(', '<']).next().unwrap_or_default();
                if is_item && !line.trim_end().ends_with(['}', ';']) {
                    open = Some((name.to_owned(), number, indent));
                }
            }
        }
    }
    found
}
