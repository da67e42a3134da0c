//! Modules import only from those to their right, and only the one module may be unsafe.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// From left to right; those of one group do not import each other.
const LAYERS: [&[&str]; 12] = [
    &["main"],
    &["server"],
    &["shard"],
    &["control", "admin"],
    &["ingress"],
    &["relay"],
    &["route"],
    &["tunnel"],
    &["mesh"],
    &["users", "directory", "metrics"],
    &["net"],
    &["config", "limits", "error"],
];

/// Pairs within a group that may be imported, with their reason.
const EXCEPTIONS: [(&str, &str); 2] = [
    // Counters are kept by shard, and a shard is named by the directory.
    ("metrics", "directory"),
    // What cannot be read from a configuration is an error of it.
    ("config", "error"),
];

fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)
            .expect("readable")
            .map(|entry| entry.expect("an entry"))
        {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inner = path.strip_prefix(&root).expect("below src");
            let module = inner.iter().next().expect("a name").to_string_lossy();
            let module = module.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).expect("UTF-8");
            files.push((module, path, text));
        }
    }
    files
}

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|group| group.contains(&module))
        .unwrap_or_else(|| panic!("{module} has no layer"))
}

/// The crate's modules a file names, in `use` lines and elsewhere.
fn imports(text: &str) -> Vec<String> {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for (at, _) in flat.match_indices("crate::") {
        let rest = &flat[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push(word(rest)),
            Some(group) => found.extend(heads(group)),
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first names in `a::b, c::{d, e}, f};`.
fn heads(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut found = vec![word(group.trim_start())];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => found.push(word(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn modules_import_only_rightwards() {
    for (module, path, text) in sources() {
        if module == "lib" {
            continue;
        }
        for import in imports(&text) {
            let allowed = import == module
                || layer(&import) > layer(&module)
                || EXCEPTIONS.contains(&(module.as_str(), import.as_str()));
            assert!(allowed, "{} imports {import}", path.display());
        }
    }
}

#[test]
fn the_runtime_is_named_in_one_place_and_unsafe_in_one_file() {
    for (module, path, text) in sources() {
        let code: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        let names = |what: &str| code.iter().any(|line| line.contains(what));
        assert!(
            module == "net" || !names("monoio::"),
            "{} names monoio",
            path.display()
        );
        assert!(
            path.ends_with("net/raw.rs") || !names("unsafe {"),
            "{}",
            path.display()
        );
        let lines = text.lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}

#[test]
fn groups_are_read_as_rust_reads_them() {
    let text =
        "use crate::{\n    a::b,\n    c::{d, e},\n    f,\n};\nuse crate::g::h; crate::i::j()";
    assert_eq!(imports(text), ["a", "c", "f", "g", "i"]);
}
