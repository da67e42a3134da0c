//! The order of the modules, as `lib.rs` draws it: each imports only from its right.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Stages of a connection's life, and below them what every stage may use. Modules of one row do not
/// import each other.
const ORDER: &[&[&str]] = &[
    &["main"],
    &["lib"],
    &["agent"],
    &["tunnel"],
    &["session"],
    &["dial", "policy", "resolve", "link"],
    &["net"],
    &["manager", "backoff"],
    &["identity", "config", "metrics"],
    &["limits", "error"],
];

#[test]
fn modules_import_only_rightwards() {
    let mut imports = 0;
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let module = module_of(&file);
        let text = fs::read_to_string(&file).unwrap();
        for imported in imported_by(&text) {
            imports += 1;
            let (from, to) = (rank(&module), rank(&imported));
            assert!(
                from < to || module == imported,
                "{module} imports {imported}"
            );
        }
    }
    assert!(
        imports > 30,
        "only {imports} imports were found: the test reads them wrongly"
    );
}

fn rank(module: &str) -> usize {
    let row = ORDER.iter().position(|row| row.contains(&module));
    row.unwrap_or_else(|| panic!("module {module} has no place in the order"))
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                sources(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// The module below `src` that a file belongs to.
fn module_of(file: &Path) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let first = file
        .strip_prefix(source)
        .unwrap()
        .components()
        .next()
        .unwrap();
    first
        .as_os_str()
        .to_str()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned()
}

/// First segments of all `crate::` paths, those in braces included. Comments and doc links count,
/// too: none of them should point leftwards either.
fn imported_by(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for after in text.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(list) => found.extend(top_level(list)),
            None => found.push(word(after)),
        }
    }
    found
}

fn top_level(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0, Vec::new(), true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && c.is_alphabetic() => {
                names.push(word(&list[at..]));
                start = false;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}
