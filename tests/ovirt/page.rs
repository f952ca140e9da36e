//! `docs/eligibility.md` and the rules say the same.

use backstop::ovirt::eligibility::Rule;

const PAGE: &str = include_str!("../../docs/eligibility.md");

/// The cells of the table that begins with `| rule |`.
fn table() -> Vec<Vec<String>> {
    let lines = PAGE.lines().skip_while(|line| !line.starts_with("| rule |")).skip(2);
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect();
    lines.take_while(|line| line.starts_with('|')).map(cells).collect()
}

#[test]
fn the_page_lists_the_rules_in_their_order_with_their_words() {
    let on_page: Vec<_> = table().into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let in_code: Vec<_> = Rule::ALL
        .iter()
        .map(|rule| (format!("[`{0}`](#{0})", rule.id()), rule.summary().to_owned()))
        .collect();
    assert_eq!(on_page, in_code);
}

#[test]
fn every_rule_has_a_section_with_what_decides_and_what_to_do() {
    let sections: Vec<_> = PAGE.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let rules: Vec<_> = Rule::ALL.iter().map(|rule| rule.id()).collect();
    assert_eq!(sections, rules);
    for section in PAGE.split("\n### ").skip(1) {
        assert!(section.contains("| attribute |"), "{section}");
    }
}

/// The attributes that rules name in their findings.
fn attributes() -> Vec<String> {
    let sources = [
        include_str!("../../src/ovirt/eligibility/disks.rs"),
        include_str!("../../src/ovirt/eligibility/vm.rs"),
        include_str!("../../src/ovirt/eligibility/work.rs"),
    ];
    let quoted = sources.iter().flat_map(|source| source.split('"').skip(1).step_by(2));
    let is_attribute = |text: &&str| {
        let is_plain = text.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c));
        is_plain && text.contains(['.', '_']) && !text.starts_with('.')
    };
    let mut all: Vec<_> = quoted.filter(is_attribute).map(str::to_owned).collect();
    all.retain(|word| word != "in_preview");
    all.sort();
    all.dedup();
    all
}

#[test]
fn every_attribute_that_can_decide_is_on_the_page() {
    let attributes = attributes();
    assert!(attributes.contains(&"disk.storage_type".to_owned()), "{attributes:?}");
    for attribute in attributes {
        assert!(PAGE.contains(&format!("| `{attribute}` |")), "{attribute}");
    }
}
