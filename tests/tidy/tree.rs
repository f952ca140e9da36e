//! The files of the package, and which of them are reached.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::scan::{Source, blank, item_end, words};

/// Directories with files of ours; the package root adds what stands in it directly.
const DIRS: &[&str] = &[".ci", ".config", "benches", "docs", "examples", "src", "tests", "tools"];
/// Directories below them whose files are data.
const DATA_DIRS: &[&str] =
    &["artifacts", "corpus", "coverage", "fixtures", "proptest-regressions", "target"];

/// Every text file of ours: its path from the package root, and its text.
pub(crate) type Files = BTreeMap<String, String>;

/// Reads the files of the package that this test belongs to.
pub(crate) fn read_package() -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Files::new();
    for name in names_in(root) {
        if name.ends_with(".md") || name.ends_with(".toml") {
            read_file(root, &name, &mut files);
        }
    }
    for dir in DIRS {
        read_dir(root, dir, &mut files);
    }
    assert!(files.contains_key("src/lib.rs"), "this test reads the package it belongs to");
    files
}

fn read_dir(root: &Path, dir: &str, files: &mut Files) {
    for name in names_in(&root.join(dir)) {
        let path = format!("{dir}/{name}");
        if !root.join(&path).is_dir() {
            read_file(root, &path, files);
        } else if !DATA_DIRS.contains(&name.as_str()) {
            read_dir(root, &path, files);
        }
    }
}

fn read_file(root: &Path, path: &str, files: &mut Files) {
    let bytes = fs::read(root.join(path)).expect("a file of the package can be read");
    // What is no text, a picture for example, has no rules here.
    if let Ok(text) = String::from_utf8(bytes) {
        files.insert(path.to_owned(), text);
    }
}

/// The names in a directory that may be missing.
fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let entries = entries.map(|entry| entry.expect("a directory of the package can be read"));
    entries.map(|entry| entry.file_name().into_string().expect("names are UTF-8")).collect()
}

/// The Rust files that `cargo` reaches, and what is wrong with the rest.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Every Rust file, reached or not.
    pub(crate) sources: Vec<Source>,
    /// Files that no target reaches, and `mod` lines that lead nowhere.
    pub(crate) problems: Vec<String>,
}

/// Follows the `mod` lines from the targets of the package.
pub(crate) fn tree(files: &Files) -> Tree {
    let rust: Vec<&str> =
        files.keys().map(String::as_str).filter(|path| path.ends_with(".rs")).collect();
    let mut roots = roots(&rust, files.get("Cargo.toml").map_or("", String::as_str));
    roots.extend(nested_roots(files));
    let mut problems = Vec::new();
    let mut reached = BTreeSet::new();
    let mut product = BTreeSet::new();
    let mut open: Vec<(String, bool)> =
        roots.iter().map(|root| (root.clone(), !root.starts_with("src/"))).collect();
    while let Some((path, is_test)) = open.pop() {
        let is_new = reached.insert(path.clone()) | (!is_test && product.insert(path.clone()));
        let Some(text) = files.get(&path).filter(|_| is_new) else { continue };
        for module in modules(text) {
            match module.file(&path, roots.contains(&path), files) {
                Some(file) => open.push((file, is_test || module.is_test)),
                None => problems.push(format!("{path}: `mod {}` leads to no file", module.name)),
            }
        }
    }
    for path in rust.iter().filter(|path| !reached.contains(**path)) {
        problems.push(format!("{path}: no target reaches this file"));
    }
    let source = |path: &&str| Source::new(path, &files[*path], !product.contains(*path));
    Tree { sources: rust.iter().map(source).collect(), problems }
}

/// The files where targets begin: those that `cargo` finds by itself and those of the manifest.
fn roots(rust: &[&str], manifest: &str) -> BTreeSet<String> {
    let mut roots = BTreeSet::new();
    for path in rust {
        let parts: Vec<&str> = path.split('/').collect();
        let is_root = match parts[..] {
            ["build.rs"] | ["src", "lib.rs" | "main.rs"] | ["src", "bin", _] => true,
            [dir @ ("tests" | "benches" | "examples"), _] => finds(manifest, dir),
            [dir @ ("tests" | "benches" | "examples"), _, "main.rs"] => finds(manifest, dir),
            _ => false,
        };
        if is_root {
            roots.insert((*path).to_owned());
        }
    }
    roots.extend(listed(manifest).map(str::to_owned));
    roots
}

/// The Rust files that a manifest lists.
fn listed(manifest: &str) -> impl Iterator<Item = &str> {
    let listed = manifest.lines().filter_map(|line| line.trim().strip_prefix("path"));
    listed.filter_map(|value| value.split('"').nth(1)).filter(|path| path.ends_with(".rs"))
}

/// The files where targets of packages below this one begin.
fn nested_roots(files: &Files) -> impl Iterator<Item = String> {
    let manifests = files.iter().filter(|(path, _)| path.ends_with("/Cargo.toml"));
    manifests.flat_map(|(manifest, text)| {
        listed(text).map(|path| normal(&Path::new(manifest).with_file_name(path)))
    })
}

fn finds(manifest: &str, dir: &str) -> bool {
    !manifest.contains(&format!("auto{dir} = false"))
}

/// A `mod name;` line.
struct Module {
    name: String,
    path: Option<String>,
    is_test: bool,
}

impl Module {
    /// The file it means when it stands in `parent`.
    fn file(&self, parent: &str, parent_is_root: bool, files: &Files) -> Option<String> {
        let parent = Path::new(parent);
        let beside = parent.parent()?;
        if let Some(path) = &self.path {
            return Some(normal(&beside.join(path))).filter(|path| files.contains_key(path));
        }
        let dir = match parent_is_root || parent.ends_with("mod.rs") {
            true => beside.to_owned(),
            false => parent.with_extension(""),
        };
        let name = &self.name;
        let candidates = [dir.join(format!("{name}.rs")), dir.join(format!("{name}/mod.rs"))];
        candidates.iter().map(|path| normal(path)).find(|path| files.contains_key(path))
    }
}

/// The `mod name;` lines of a file, each with what its attributes say.
fn modules(text: &str) -> Vec<Module> {
    let code = blank(text);
    let mut modules = Vec::new();
    for (at, word) in words(&code) {
        let end = item_end(&code, at);
        let Some(name) = code[at + word.len()..end].strip_suffix(';') else { continue };
        let is_name = name.starts_with(' ') && words(name).count() == 1;
        if word != "mod" || !is_name || name.contains(['(', ',', '=', '{']) {
            continue;
        }
        let attributes = code[..at].rfind([';', '{', '}']).map_or(0, |before| before + 1);
        let path = code[attributes..at].find("#[path").map(|offset| attributes + offset);
        let path = path.and_then(|from| text[from..at].split('"').nth(1)).map(str::to_owned);
        let is_test = code[attributes..at].contains("cfg(test)");
        modules.push(Module { name: name.trim().to_owned(), path, is_test });
    }
    modules
}

/// The path without `.` and `..`, as text.
pub(crate) fn normal(path: &Path) -> String {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::ParentDir => _ = parts.pop(),
            _ => {}
        }
    }
    parts.to_str().expect("names are UTF-8").to_owned()
}

#[cfg(test)]
fn tree_of(files: &[(&str, &str)]) -> Tree {
    tree(&files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
}

#[test]
fn files_are_reached_by_mod_lines_from_every_kind_of_target() {
    let tree = tree_of(&[
        ("Cargo.toml", "[[example]]\npath = \"tools/dump.rs\"\n"),
        ("src/lib.rs", "pub mod a;\npub(crate) mod b;\nmod inline { fn f() {} }\n"),
        ("src/a.rs", "mod c;"),
        ("src/a/c.rs", ""),
        ("src/b/mod.rs", "#[cfg(unix)]\nmod d;"),
        ("src/b/d.rs", ""),
        ("tests/tidy.rs", "#[path = \"tidy/scan.rs\"]\nmod scan;"),
        ("tests/tidy/scan.rs", ""),
        ("tests/repo/main.rs", "mod damage;\n#[path = \"../support/mod.rs\"]\nmod support;"),
        ("tests/repo/damage.rs", ""),
        ("tests/support/mod.rs", "mod lab;"),
        ("tests/support/lab.rs", ""),
        ("benches/read.rs", ""),
        ("tools/dump.rs", ""),
        ("tools/fuzz/Cargo.toml", "[[bin]]\npath = \"targets/packs.rs\"\n"),
        ("tools/fuzz/targets/packs.rs", ""),
    ]);
    assert_eq!(tree.problems, [""; 0]);
}

#[test]
fn dead_files_and_dead_mod_lines_are_refused() {
    let tree = tree_of(&[
        ("Cargo.toml", "autobenches = false"),
        ("src/lib.rs", "// mod old;\nmod gone;\n\"mod old;\""),
        ("src/old.rs", ""),
        ("tests/repo/damage.rs", ""),
        ("benches/read.rs", ""),
        ("tools/dump.rs", ""),
    ]);
    let mut expected = vec!["src/lib.rs: `mod gone` leads to no file".to_owned()];
    for path in ["benches/read.rs", "src/old.rs", "tests/repo/damage.rs", "tools/dump.rs"] {
        expected.push(format!("{path}: no target reaches this file"));
    }
    assert_eq!(tree.problems, expected);
}

#[test]
fn a_file_under_cfg_test_is_test_code() {
    let tree = tree_of(&[
        ("src/lib.rs", "#[cfg(test)]\nmod tests;\nmod a;"),
        ("src/a.rs", "fn f() {}\n"),
        ("src/tests.rs", "mod deep;\n"),
        ("src/tests/deep.rs", "fn f() {}\n"),
    ]);
    let tests =
        tree.sources.iter().filter(|source| source.is_test(1) && source.path != "src/lib.rs");
    let tests: Vec<_> = tests.map(|source| source.path.as_str()).collect();
    assert_eq!(tests, ["src/tests.rs", "src/tests/deep.rs"]);
}
