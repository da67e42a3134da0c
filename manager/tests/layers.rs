//! The modules are stages and import in one direction only.

use std::{fs, path::Path};

/// From the outermost to the innermost. A module imports from those behind it; those of one
/// group do not know each other.
const STAGES: [&[&str]; 5] = [
    &["server"],
    &["api"],
    &["assignment", "identity"],
    &["store"],
    &["config", "error", "limits"],
];

#[test]
fn modules_import_rightwards_only() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for (stage, modules) in STAGES.iter().enumerate() {
        for module in *modules {
            let text = text_of(&source, module);
            for imported in imports(&text).filter(|imported| imported != module) {
                let of = STAGES
                    .iter()
                    .position(|stage| stage.contains(&imported.as_str()));
                let of = of.unwrap_or_else(|| panic!("{module} imports unknown {imported}"));
                assert!(
                    of > stage || is_leaf(module, &imported),
                    "{module} imports {imported}"
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "the test found only {seen} imports");
}

/// The configuration takes its defaults from the limits.
fn is_leaf(module: &str, imported: &str) -> bool {
    (module, imported) == ("config", "limits")
}

/// The whole text of a module: a file, or a folder of files.
fn text_of(source: &Path, module: &str) -> String {
    let file = source.join(format!("{module}.rs"));
    if file.exists() {
        read(&file)
    } else {
        text_of_folder(&source.join(module))
    }
}

fn text_of_folder(folder: &Path) -> String {
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("a file").path());
    entries
        .map(|path| {
            if path.is_dir() {
                text_of_folder(&path)
            } else {
                read(&path)
            }
        })
        .collect()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("a source file")
}

/// The modules behind `crate::` in paths and in `use crate::{…}` lists.
fn imports(text: &str) -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => found.extend(list_heads(list)),
            None => found.push(head(rest)),
        }
    }
    found.into_iter().filter(|name| !name.is_empty())
}

/// The first names of the items of a brace list, nested lists left out.
fn list_heads(list: &str) -> Vec<String> {
    let (mut depth, mut item, mut heads) = (0, String::new(), Vec::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(head(&std::mem::take(&mut item))),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    heads.push(head(&item));
    heads
}

fn head(path: &str) -> String {
    path.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}
