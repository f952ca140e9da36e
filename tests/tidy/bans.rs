//! Words that may not be written, or only in their home.

use crate::scan::{Source, whole_matches};

/// Where a ban holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All Rust files of the package.
    Everywhere,
    /// `src/`, tests there included.
    Source,
    /// `src/` without its tests.
    Product,
}

/// A word of code that has few homes or none.
#[derive(Debug)]
pub(crate) struct Ban {
    /// The code as it is written.
    pub(crate) word: &'static str,
    /// Where the ban holds.
    pub(crate) scope: Scope,
    /// Beginnings of the paths that may use it all the same.
    pub(crate) homes: &'static [&'static str],
    /// What to do in its place.
    pub(crate) instead: &'static str,
}

/// Whether `path` is one of `homes`: a file, or a directory that ends in `/`.
pub(crate) fn is_home(homes: &[&str], path: &str) -> bool {
    homes.iter().any(|home| *home == path || (home.ends_with('/') && path.starts_with(home)))
}

/// Refuses banned words of code outside their homes.
pub(crate) fn check_code(bans: &[Ban], source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    for ban in bans {
        let is_source = source.path.starts_with("src/");
        if is_home(ban.homes, &source.path) || (ban.scope != Scope::Everywhere && !is_source) {
            continue;
        }
        for at in whole_matches(&source.code, ban.word) {
            let line = source.line(at);
            if ban.scope == Scope::Product && source.is_test(line) {
                continue;
            }
            let what = format!("`{}`: {}", ban.word, ban.instead);
            problems.push(source.problem(line, &what));
        }
    }
    problems
}

/// Refuses exceptions to a lint that are kept in silence: `allow`, and `expect` without a reason.
///
/// Support code is compiled into several test binaries, of which each uses its own part: what one
/// must expect, another never meets. There, an `allow` with a reason will do.
pub(crate) fn check_exceptions(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, _) in source.code.match_indices("#[").chain(source.code.match_indices("#![")) {
        let open = at + source.code[at..].find('[').unwrap_or_default();
        let attribute = &source.code[open..closing_bracket(&source.code, open)];
        let line = source.line(at);
        let has_reason = whole_matches(attribute, "reason").next().is_some();
        let is_shared = source.path.starts_with("tests/support/") && has_reason;
        if whole_matches(attribute, "allow(").next().is_some() && !is_shared {
            problems.push(source.problem(line, "`allow`: use `expect` with a reason"));
        }
        if whole_matches(attribute, "expect(").next().is_some() && !has_reason {
            problems.push(source.problem(line, "`expect`: give the `reason`"));
        }
    }
    problems
}

fn closing_bracket(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'[' => depth += 1,
            b']' if depth == 1 => return at,
            b']' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Refuses `words` anywhere in a text, comments and strings included, in upper or lower case.
pub(crate) fn check_text(words: &[(&str, &str)], path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        for (word, instead) in words {
            if lower.contains(&word.to_lowercase()) {
                problems.push(format!("{path}:{}: `{word}`: {instead}", number + 1));
            }
        }
    }
    problems
}

/// Refuses promises that nobody keeps: the words of `never`, and `later` without an issue number.
pub(crate) fn check_promises(never: &[&str], later: &str, path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut say = |what: String| problems.push(format!("{path}:{}: {what}", number + 1));
        for word in never.iter().filter(|word| whole_matches(line, word).next().is_some()) {
            say(format!("`{word}`: mend it before it is merged"));
        }
        for at in whole_matches(line, later) {
            let after = line[at + later.len()..].trim_start_matches(['(', ' ']);
            let issue = after.strip_prefix('#').unwrap_or_default();
            if !issue.starts_with(|c: char| c.is_ascii_digit()) {
                say(format!("`{later}`: name the issue, `{later}(#12)`"));
            }
        }
    }
    problems
}

#[cfg(test)]
const BANS: &[Ban] = &[
    Ban {
        word: "print!(",
        scope: Scope::Product,
        homes: &["src/cli/", "src/main.rs"],
        instead: "no",
    },
    Ban { word: "unsafe", scope: Scope::Source, homes: &["src/store/sys.rs"], instead: "no" },
    Ban { word: "stop!(", scope: Scope::Everywhere, homes: &[], instead: "remove it" },
];

#[test]
fn a_banned_word_is_refused_outside_its_home() {
    let check = |path: &str, text: &str| check_code(BANS, &Source::new(path, text, false));
    let found = check("src/repo/mod.rs", "\nfn f() { print!(1); }");
    assert_eq!(found, ["src/repo/mod.rs:2: `print!(`: no"]);
    assert_eq!(check("src/client.rs", "print!(1)").len(), 1);
    assert_eq!(check("src/store/sys.rs.rs", "unsafe {}").len(), 1);
    for path in ["src/cli/list.rs", "src/main.rs", "tests/a.rs", "tools/b.rs"] {
        assert_eq!(check(path, "print!(1)"), [""; 0], "{path}");
    }
    assert_eq!(check("src/repo/mod.rs", "// print!(1)\n\"unsafe\"; unsafe_op()"), [""; 0]);
}

#[test]
fn the_scope_of_a_ban_decides_about_tests() {
    let check = |path: &str, text: &str| check_code(BANS, &Source::new(path, text, false));
    assert_eq!(check("src/repo/mod.rs", "#[cfg(test)]\nfn f() { print!(1); }"), [""; 0]);
    assert_eq!(check("src/repo/mod.rs", "#[cfg(test)]\nfn f() { unsafe {} }").len(), 1);
    assert_eq!(check("tests/a.rs", "unsafe {}"), [""; 0]);
    assert_eq!(check("tests/a.rs", "stop!(1)").len(), 1);
}

#[test]
fn a_silent_exception_is_refused() {
    let check = |text: &str| check_exceptions(&Source::new("src/a.rs", text, false));
    let use_expect = "src/a.rs:1: `allow`: use `expect` with a reason";
    assert_eq!(check("#[allow(dead_code)]"), [use_expect]);
    assert_eq!(check("#![allow(dead_code)]"), [use_expect]);
    assert_eq!(check("#[cfg_attr(test, allow(dead_code))]"), [use_expect]);
    assert_eq!(check("#[expect(dead_code)]"), ["src/a.rs:1: `expect`: give the `reason`"]);
    assert_eq!(check("#[expect(\n    dead_code,\n    reason = \"see []\"\n)]\nfn f() {}"), [""; 0]);
    assert_eq!(check("fn f() { a.expect(\"reason\"); allow(b) }"), [""; 0]);
}

#[test]
fn a_banned_text_is_refused_in_comments_and_strings_too() {
    let words = [("/build/farm", "a path of one machine")];
    let found = check_text(&words, "docs/a.md", "one\nsee /Build/Farm/x\n");
    assert_eq!(found, ["docs/a.md:2: `/build/farm`: a path of one machine"]);
    assert_eq!(check_text(&words, "docs/a.md", "a build farm"), [""; 0]);
}

#[test]
fn a_promise_needs_an_issue() {
    let check = |text: &str| check_promises(&["MENDME"], "LATER", "src/a.rs", text);
    assert_eq!(check("// MENDME: wrong"), ["src/a.rs:1: `MENDME`: mend it before it is merged"]);
    assert_eq!(check("\n// LATER: slow"), ["src/a.rs:2: `LATER`: name the issue, `LATER(#12)`"]);
    assert_eq!(check("// LATER(#12): slow\n// LATER #3\nMENDMENT LATERAL"), [""; 0]);
}
