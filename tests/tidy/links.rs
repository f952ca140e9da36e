//! Links between the pages of the package.

use std::path::Path;

use crate::tree::normal;

/// Refuses relative links of a page to files that `exists` does not know.
pub(crate) fn check(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut problems = Vec::new();
    for (line, target) in links(text) {
        let file = target.split(['#', '?']).next().unwrap_or_default();
        let is_address = target.contains("://") || target.starts_with("mailto:");
        if file.is_empty() || is_address {
            continue;
        }
        let found = match file.strip_prefix('/') {
            Some(from_root) => normal(Path::new(from_root)),
            None => normal(&Path::new(path).with_file_name("").join(file)),
        };
        if !exists(&found) {
            problems.push(format!("{path}:{line}: the link to `{target}` leads nowhere"));
        }
    }
    problems
}

/// Link targets with the number of their line; code is left out.
fn links(page: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut fence = None;
    for (number, line) in page.lines().enumerate() {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        if mark.is_some() && (fence.is_none() || fence == mark) {
            fence = if fence.is_none() { mark } else { None };
            continue;
        }
        if fence.is_some() {
            continue;
        }
        let text = without_code(line);
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', ' ']).next().unwrap_or_default();
            links.push((number + 1, target.trim_matches(['<', '>']).to_owned()));
        }
        if let Some((_, target)) = start.strip_prefix('[').and_then(|line| line.split_once("]: ")) {
            let target = target.split(' ').next().unwrap_or_default();
            links.push((number + 1, target.trim_matches(['<', '>']).to_owned()));
        }
    }
    links
}

fn without_code(line: &str) -> String {
    let parts = line.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 0 { part } else { "code" }).collect()
}

#[test]
fn a_link_to_a_missing_file_is_refused() {
    let exists = |path: &str| ["README.md", "docs/a.md", "docs/format"].contains(&path);
    let page = "See [a](b.md) and [c](../gone.md#part).\n\n[d]: /docs/lost.md \"title\"\n";
    let expected = [
        "1: the link to `b.md`",
        "1: the link to `../gone.md#part`",
        "3: the link to `/docs/lost.md`",
    ];
    let expected = expected.map(|what| format!("docs/a.md:{what} leads nowhere"));
    assert_eq!(check("docs/a.md", page, exists), expected);
}

#[test]
fn links_to_files_directories_addresses_and_parts_are_let_through() {
    let exists = |path: &str| ["README.md", "docs/a.md", "docs/format"].contains(&path);
    let page = "[a](a.md#x) [b](../README.md) [c](format/) [d](#here) [e](https://example.org/x)\n\
                [f](/docs/a.md) ![g](<a.md>) [h](mailto:a@example.org) `[i](gone.md)`\n\
                ```text\n[j](gone.md)\n```\n~~~\n```\n[k](gone.md)\n~~~\n[l]: a.md\n";
    assert_eq!(check("docs/a.md", page, exists), [""; 0]);
}
