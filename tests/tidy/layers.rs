//! Who may use whom inside `src/`.

use crate::scan::{Source, item_end, words};

/// Code that stands below the layer of its module and that any test may use.
const TEST_SUPPORT: &str = "store::testing";

/// Refuses paths that lead to a neighbour or upwards.
pub(crate) fn check(layers: &[&[&str]], source: &Source) -> Vec<String> {
    let Some(module) = module_of(&source.path) else { return Vec::new() };
    let Some(own) = layer(layers, module) else {
        return vec![source.problem(1, &format!("module `{module}` has no line in LAYERS"))];
    };
    let mut problems = Vec::new();
    for (at, used) in crate_paths(&source.code) {
        let line = source.line(at);
        let name = used.split("::").next().unwrap_or_default();
        let is_test = source.is_test(line);
        let allowed = match layer(layers, name) {
            _ if name == module => true,
            Some(other) if is_test => other <= own || used.starts_with(TEST_SUPPORT),
            Some(other) => other < own,
            None => {
                let what = format!("`crate::{name}`: name one module of LAYERS per path");
                problems.push(source.problem(line, &what));
                continue;
            }
        };
        if !allowed {
            problems.push(source.problem(line, &format!("`{module}` may not use `{name}`")));
        }
    }
    problems
}

/// Refuses what hides from [`check`] who uses whom.
pub(crate) fn check_imports(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, word) in words(&source.code) {
        let line = source.line(at);
        let rest = &source.code[at + word.len()..];
        let mut say = |what: &str| problems.push(source.problem(line, what));
        match word {
            "use" if rest.starts_with(char::is_whitespace) => {
                let import = &source.code[at..item_end(&source.code, at)];
                if import.contains('*') && !(source.is_test(line) && may_be_glob(import)) {
                    say("a glob import hides what is used: name it");
                }
            }
            "crate" if rest.trim_start().starts_with("as ") => {
                say("`crate as` hides the layers: use `crate::module`");
            }
            "backstop" if rest.starts_with("::") && source.path != "src/main.rs" => {
                say("inside the library, use `crate::module`");
            }
            "super" if rest.starts_with("::") && climbs_to_the_root(source, at) => {
                say("`super` leads to the crate root: use `crate::module`");
            }
            _ => {}
        }
    }
    problems
}

/// Whether tests may write this import: what they test, and the prelude of another crate.
fn may_be_glob(import: &str) -> bool {
    let is_ours = ["use crate::", "use super::"].iter().any(|start| import.starts_with(start));
    import == "use super::*;" || (import.ends_with("::prelude::*;") && !is_ours)
}

/// The paths after `crate::`, with the byte where each begins; empty for a group or a glob.
fn crate_paths(code: &str) -> impl Iterator<Item = (usize, &str)> {
    words(code).filter(|(_, word)| *word == "crate").filter_map(|(at, word)| {
        let path = code[at + word.len()..].strip_prefix("::")?;
        let is_path_char = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let len = path.find(|c| !is_path_char(c)).unwrap_or(path.len());
        Some((at, &path[..len]))
    })
}

/// Whether the `super::super::` that begins at `at` leaves the file's top-level module.
fn climbs_to_the_root(source: &Source, at: usize) -> bool {
    let code = &source.code;
    if code[..at].ends_with("super::") {
        return false;
    }
    let mut climbed = 0;
    let mut rest = &code[at..];
    while let Some(after) = rest.strip_prefix("super") {
        climbed += 1;
        rest = after.strip_prefix("::").unwrap_or_default();
    }
    module_of(&source.path).is_some() && climbed >= file_depth(&source.path) + nesting(code, at)
}

/// How many inline modules stand around byte `at`.
fn nesting(code: &str, at: usize) -> usize {
    let modules = words(&code[..at]).filter(|(_, word)| *word == "mod");
    modules.filter(|(from, _)| item_end(code, *from) > at).count()
}

/// How deep below the crate root the module of a file stands: 1 for `src/store/mod.rs`.
fn file_depth(path: &str) -> usize {
    let parts = path.trim_end_matches("/mod.rs").split('/').count();
    parts - 1
}

/// The top-level module of a file; none for the roots, which are free.
fn module_of(path: &str) -> Option<&str> {
    let module = path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
    (module != "lib" && module != "main").then_some(module)
}

fn layer(layers: &[&[&str]], module: &str) -> Option<usize> {
    layers.iter().position(|layer| layer.contains(&module))
}

#[cfg(test)]
const LAYERS: &[&[&str]] = &[&["base"], &["store"], &["chunk", "pack"], &["repo"]];

#[cfg(test)]
fn problems(path: &str, text: &str) -> Vec<String> {
    let source = Source::new(path, text, false);
    [check(LAYERS, &source), check_imports(&source)].concat()
}

#[test]
fn lower_layers_and_the_module_itself_may_be_used() {
    for text in [
        "use crate::base::id::ChunkId;",
        "use crate::store::{Store, Staged};",
        "use crate::chunk::cache::Cache;",
        "use std::io; use super::cache; // crate::repo",
        "let text = \"crate::repo\";",
        "pub(crate) fn f() -> impl Fn() + use<'_> {}",
        "#[cfg(test)] mod tests { use super::*; use crate::pack::reader; }",
        "#[cfg(test)] mod tests { use proptest::prelude::*; }",
    ] {
        assert_eq!(problems("src/chunk/cache.rs", text), [""; 0], "{text}");
    }
    assert_eq!(problems("src/lib.rs", "pub use crate::repo::Repo;"), [""; 0]);
}

#[test]
fn neighbours_and_higher_layers_are_refused() {
    for (text, expected) in [
        ("use crate::pack::Reader;", "src/chunk/zip.rs:1: `chunk` may not use `pack`"),
        ("\nfn f(r: crate::repo::Repo) {}", "src/chunk/zip.rs:2: `chunk` may not use `repo`"),
        ("#[cfg(test)]\nuse crate::repo::R;", "src/chunk/zip.rs:2: `chunk` may not use `repo`"),
        (
            "use crate::Error;",
            "src/chunk/zip.rs:1: `crate::Error`: name one module of LAYERS per path",
        ),
        (
            "use crate::{base, repo};",
            "src/chunk/zip.rs:1: `crate::`: name one module of LAYERS per path",
        ),
    ] {
        assert_eq!(problems("src/chunk/zip.rs", text), [expected], "{text}");
    }
    let homeless = problems("src/new.rs", "");
    assert_eq!(homeless, ["src/new.rs:1: module `new` has no line in LAYERS"]);
}

#[test]
fn any_test_may_use_the_stores_for_tests() {
    let line = "use crate::store::testing::memory;";
    let in_test = format!("#[cfg(test)]\n{line}");
    assert_eq!(problems("src/base/id.rs", &in_test), [""; 0]);
    assert_eq!(problems("src/base/id.rs", line).len(), 1);
}

#[test]
fn imports_that_hide_the_layers_are_refused() {
    for text in [
        "use crate::base::*;",
        "use crate::base::{id, units::*};",
        "use super::*;",
        "use rayon::prelude::*;",
        "#[cfg(test)] mod tests { use crate::chunk::*; }",
        "#[cfg(test)] mod tests { use crate::base::prelude::*; }",
        "use crate as me;",
        "use backstop::repo;",
        "use super::super::repo;",
        "mod inner { use super::super::super::repo; }",
    ] {
        assert_eq!(problems("src/chunk/zip.rs", text).len(), 1, "{text}");
    }
    assert_eq!(problems("src/chunk/mod.rs", "use super::repo;").len(), 1);
    assert_eq!(problems("src/chunk.rs", "use super::repo;").len(), 1);
    assert_eq!(problems("src/chunk/mod.rs", "mod a { use super::b; }"), [""; 0]);
    assert_eq!(problems("src/chunk/mod.rs", "pub(super) fn f() {}"), [""; 0]);
    assert_eq!(problems("src/chunk/a/b.rs", "use super::super::c;"), [""; 0]);
}
