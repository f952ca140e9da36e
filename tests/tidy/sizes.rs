//! How long files, functions and lines may be.

use crate::scan::{Source, is_word_char, item_end, words};

/// The limits, in lines and columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Lines of a file without its tests.
    pub(crate) file_lines: usize,
    /// Lines of the tests in a file.
    pub(crate) test_lines: usize,
    /// Lines of a function, from `fn` to its closing brace.
    pub(crate) function_lines: usize,
    /// Characters of a line.
    pub(crate) columns: usize,
}

/// Refuses a file that has outgrown its room.
pub(crate) fn check_file(limits: Limits, source: &Source) -> Vec<String> {
    let tests = source.test_line_count();
    let product = source.line_count() - tests;
    let mut problems = Vec::new();
    for (what, lines, limit) in
        [("", product, limits.file_lines), (" of tests", tests, limits.test_lines)]
    {
        if lines > limit {
            problems.push(format!("{}: {lines} lines{what}, more than {limit}", source.path));
        }
    }
    problems
}

/// Refuses functions that do not fit on a screen.
pub(crate) fn check_functions(limits: Limits, source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    for (at, word) in words(&source.code) {
        let rest = source.code[at + word.len()..].trim_start();
        if word != "fn" || !rest.starts_with(is_word_char) {
            continue;
        }
        let name = &rest[..rest.find(|c| !is_word_char(c)).unwrap_or(rest.len())];
        let first = source.line(at);
        let lines = source.line(item_end(&source.code, at)) - first + 1;
        if lines > limits.function_lines {
            let limit = limits.function_lines;
            let what = format!("`{name}` has {lines} lines, more than {limit}");
            problems.push(source.problem(first, &what));
        }
    }
    problems
}

/// Refuses lines that are too wide, unless a web address makes them so.
pub(crate) fn check_columns(limits: Limits, source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        let is_address = line.contains("https://") || line.contains("http://");
        if columns > limits.columns && !is_address {
            let what = format!("{columns} columns, more than {}", limits.columns);
            problems.push(source.problem(number + 1, &what));
        }
    }
    problems
}

#[cfg(test)]
const TIGHT: Limits = Limits { file_lines: 4, test_lines: 3, function_lines: 3, columns: 20 };

#[test]
fn a_file_is_measured_without_its_tests_and_they_on_their_own() {
    let check = |text: &str| check_file(TIGHT, &Source::new("src/a.rs", text, false));
    assert_eq!(check("a\nb\nc\nd\n#[cfg(test)]\nmod tests {\n}\n"), [""; 0]);
    assert_eq!(check("a\nb\nc\nd\ne\n"), ["src/a.rs: 5 lines, more than 4"]);
    let tests = "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n";
    assert_eq!(check(tests), ["src/a.rs: 4 lines of tests, more than 3"]);
}

#[test]
fn a_function_is_measured_to_its_own_closing_brace() {
    let check = |text: &str| check_functions(TIGHT, &Source::new("src/a.rs", text, false));
    assert_eq!(check("fn f() {\n    g('}');\n}\n\nfn g(c: char) {}\n"), [""; 0]);
    let long = "\nfn f() {\n    // }\n    g(\"}\");\n}\n";
    assert_eq!(check(long), ["src/a.rs:2: `f` has 4 lines, more than 3"]);
    assert_eq!(check("type F = fn(\n    u8,\n    u8,\n    u8,\n);\n"), [""; 0]);
    assert_eq!(check("trait T {\n    fn f();\n\n\n\n    fn g();\n}\n"), [""; 0]);
    let inner = "impl A {\n    fn f(\n        a: [u8; 2],\n    ) {\n        g()\n    }\n}\n";
    assert_eq!(check(inner), ["src/a.rs:2: `f` has 5 lines, more than 3"]);
}

#[test]
fn a_wide_line_is_refused_unless_it_is_an_address() {
    let check = |text: &str| check_columns(TIGHT, &Source::new("src/a.rs", text, false));
    assert_eq!(check("// twenty columns ok\n"), [""; 0]);
    assert_eq!(check("\n// one more than that\n"), ["src/a.rs:2: 21 columns, more than 20"]);
    assert_eq!(check("// https://example.org/long\n"), [""; 0]);
    assert_eq!(check("// éééééééééééééééé\n"), [""; 0]);
}
