//! Where each external crate may be used.

use crate::bans::is_home;
use crate::scan::{Source, whole_matches, words};

/// A crate, and the beginnings of the paths that may use it.
pub(crate) type Home = (&'static str, &'static [&'static str]);

/// Refuses a crate outside its home. Tests are free.
pub(crate) fn check_uses(homes: &[Home], source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, paths) in homes.iter().filter(|(_, paths)| !is_home(paths, &source.path)) {
        for at in whole_matches(&source.code, name) {
            let line = source.line(at);
            if !source.is_test(line) && is_crate_name(&source.code, at, name) {
                let what = format!("`{name}` may be used in {} only", paths.join(", "));
                problems.push(source.problem(line, &what));
            }
        }
    }
    problems
}

/// Whether the word at `at` is the first of a path, or a whole `use`.
fn is_crate_name(code: &str, at: usize, name: &str) -> bool {
    let before = code[..at].trim_end();
    let after = code[at + name.len()..].trim_start();
    let last_word = words(before).last().filter(|(from, word)| from + word.len() == before.len());
    let last_word = last_word.map(|(_, word)| word);
    match before.strip_suffix("::") {
        // `::name::item` begins a path as well, `module::name::item` does not.
        Some(path) if path.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>') => {
            false
        }
        Some(_) => after.starts_with("::"),
        None if after.starts_with("::") => true,
        None => {
            let is_whole = after.starts_with(';') || after.starts_with("as ");
            is_whole && matches!(last_word, Some("use" | "crate"))
        }
    }
}

/// Refuses a dependency without a home, and a home without a dependency.
pub(crate) fn check_manifest(homes: &[Home], manifest: &str) -> Vec<String> {
    let used = dependencies(manifest);
    let mut problems = Vec::new();
    for name in used.iter().filter(|name| homes.iter().all(|(home, _)| home != *name)) {
        problems.push(format!("Cargo.toml: `{name}` has no line in CRATE_HOMES"));
    }
    for (home, _) in homes.iter().filter(|(home, _)| !used.iter().any(|name| name == home)) {
        problems.push(format!("CRATE_HOMES: `{home}` is no dependency in Cargo.toml"));
    }
    problems
}

/// The dependencies of a manifest, without those for tests, as code writes them.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim_end) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            let (table, name) = match section.rsplit_once("dependencies.") {
                Some((before, name)) => (format!("{before}dependencies"), Some(name)),
                None => (section.to_owned(), None),
            };
            let is_table = table == "dependencies" || table.ends_with(".dependencies");
            inside = is_table && name.is_none();
            names.extend(name.filter(|_| is_table).map(identifier));
        } else if inside && line.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            let end = line.find(['=', '.', ' ']).unwrap_or(line.len());
            names.push(identifier(&line[..end]));
        }
    }
    names
}

fn identifier(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
const HOMES: &[Home] = &[("libc", &["src/store/sys.rs"]), ("zip_fast", &["src/chunk/"])];

#[test]
fn a_crate_is_refused_outside_its_home() {
    let check = |path: &str, text: &str| check_uses(HOMES, &Source::new(path, text, false));
    let expected = ["src/repo/mod.rs:1: `libc` may be used in src/store/sys.rs only"];
    for text in [
        "use libc::open;",
        "use libc as c;",
        "pub use libc;",
        "extern crate libc;",
        "fn f() -> libc::c_int { 0 }",
        "let fd = ::libc::dup(1);",
        "impl From<libc::stat> for A {}",
    ] {
        assert_eq!(check("src/repo/mod.rs", text), expected, "{text}");
    }
    assert_eq!(check("src/repo/mod.rs", "use zip_fast::pack;").len(), 1);
    assert_eq!(check("src/store/sys.rs", "use libc::open;"), [""; 0]);
    assert_eq!(check("src/chunk/compress.rs", "use zip_fast::pack;"), [""; 0]);
}

#[test]
fn names_that_only_look_like_a_crate_are_let_through() {
    for text in [
        "// libc::open\n\"libc::open\"",
        "let libc = 1; f(libc)",
        "use crate::base::libc::Thing;",
        "use my_libc::Thing;",
        "#[cfg(test)]\nmod tests { use libc::open; }",
    ] {
        let source = Source::new("src/repo/mod.rs", text, false);
        assert_eq!(check_uses(HOMES, &source), [""; 0], "{text}");
    }
}

#[test]
fn a_dependency_without_a_home_is_refused() {
    let manifest = "[package]\nname = \"a\"\n[dependencies]\nlibc = \"0.2\"\n\
                    zip-fast.version = \"1\"\n[dependencies.new]\nversion = \"1\"\n\
                    [target.'cfg(unix)'.dependencies]\nnix = { version = \"1\" }\n\
                    [dev-dependencies]\ntempfile = \"3\"\n[build-dependencies]\ncc = \"1\"\n";
    assert_eq!(dependencies(manifest), ["libc", "zip_fast", "new", "nix"]);
    let found = check_manifest(HOMES, manifest);
    let expected = ["new", "nix"].map(|n| format!("Cargo.toml: `{n}` has no line in CRATE_HOMES"));
    assert_eq!(found, expected);
    let found = check_manifest(HOMES, "[dependencies]\nlibc = \"0.2\"\n");
    assert_eq!(found, ["CRATE_HOMES: `zip_fast` is no dependency in Cargo.toml"]);
}
