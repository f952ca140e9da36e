//! `docs/cli.md` and the program say the same.

use std::collections::{BTreeMap, BTreeSet};

use backstop::cli::exit::Exit;
use serde_json::Value;

use crate::damage;
use crate::engine::vm;
use crate::engine_commands::Site;
use crate::help::commands;
use crate::support::{Lab, MIB, noise};

const PAGE: &str = include_str!("../../docs/cli.md");

/// The part of the page below a heading, up to the next heading of its level or above.
fn section(heading: &str) -> &'static str {
    let (_, after) = PAGE.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| {
        panic!("docs/cli.md has no heading {heading:?}");
    });
    let level = heading.chars().take_while(|c| *c == '#').count();
    let is_end = |line: &str| {
        let marks = line.chars().take_while(|c| *c == '#').count();
        (1..=level).contains(&marks)
    };
    let end = after.lines().take_while(|line| !is_end(line)).map(|line| line.len() + 1).sum();
    &after[..after.len().min(end)]
}

/// Rows of the first table in a text that has this first column.
fn rows(text: &str, column: &str) -> Vec<Vec<String>> {
    let head = format!("| {column} |");
    let lines = text.lines().skip_while(|line| !line.starts_with(&head)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect())
        .collect()
}

/// The words in backquotes in the first cells of a table.
fn words(rows: &[Vec<String>]) -> BTreeSet<String> {
    let quoted = |cell: &String| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    rows.iter().flat_map(|row| -> Vec<String> { quoted(&row[0]) }).collect()
}

/// The keys that a section promises, with those of restore points in their places.
fn promised(section_text: &str) -> BTreeSet<String> {
    let of_points = words(&rows(section("### A restore point"), "key"));
    let mut keys = BTreeSet::new();
    for row in rows(section_text, "key") {
        let key = row[0].trim_matches('`').to_owned();
        match row[1].contains("(#a-restore-point)") {
            true => keys.extend(of_points.iter().map(|below| format!("{key}.{below}"))),
            false => drop(keys.insert(key)),
        }
    }
    keys
}

/// The keys of an answer as the page writes them, without the problems that all have.
fn keys(value: &Value) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    collect(value, String::new(), &mut keys);
    keys.retain(|key| !key.starts_with("problems"));
    keys
}

fn collect(value: &Value, path: String, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            let dot = if path.is_empty() { "" } else { "." };
            map.iter().for_each(|(key, value)| collect(value, format!("{path}{dot}{key}"), keys));
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter().for_each(|value| collect(value, format!("{path}[]"), keys));
        }
        _ => drop(keys.insert(path)),
    }
}

/// The keys of `answers` together are those of the page; only what the page says to be there "only
/// if" something is so may be missing.
#[track_caller]
pub(crate) fn assert_promised(heading: &str, answers: &[Value]) {
    let printed: BTreeSet<_> = answers.iter().flat_map(keys).collect();
    let mut promised = promised(section(heading));
    for row in rows(section(heading), "key") {
        let key = row[0].trim_matches('`');
        if row[1].starts_with("only if ") && !printed.contains(key) {
            promised.remove(key);
        }
    }
    assert_eq!(printed, promised, "{heading}");
}

#[test]
fn the_exit_codes_are_those_of_the_page() {
    let on_page: Vec<_> = rows(section("## Exit codes"), "code")
        .into_iter()
        .map(|row| (row[0].parse::<u8>().unwrap(), row[1].clone()))
        .collect();
    let in_code: Vec<_> =
        Exit::ALL.iter().map(|exit| (exit.number(), exit.name().to_owned())).collect();
    assert_eq!(on_page, in_code);
}

#[test]
fn every_command_has_a_section_with_all_of_its_options_and_no_others() {
    for (path, command) in commands() {
        let text = section(&format!("### `backstop {}`", path.join(" ")));
        let synopsis: Vec<_> = text.lines().filter(|line| line.starts_with("    ")).collect();
        let synopsis = synopsis.join("\n");
        let is_option = |word: &&str| word.starts_with("--");
        let words = synopsis.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let on_page: BTreeSet<_> = words.filter(is_option).map(str::to_owned).collect();
        let own = command.get_arguments().filter(|arg| !arg.is_global_set());
        let longs = own.filter_map(clap::Arg::get_long).filter(|long| *long != "help");
        let in_code: BTreeSet<_> = longs.map(|long| format!("--{long}")).collect();
        assert_eq!(on_page, in_code, "{path:?}");
        for arg in command.get_positionals() {
            let name = arg.get_value_names().unwrap()[0].as_str();
            assert!(synopsis.contains(name), "{path:?}: {name} is not in the synopsis");
        }
    }
}

#[test]
fn every_section_about_a_command_is_about_one_that_exists() {
    let names: BTreeSet<_> = commands().iter().map(|(path, _)| path.join(" ")).collect();
    for line in PAGE.lines().filter(|line| line.starts_with("### `backstop ")) {
        let name = line.trim_start_matches("### `backstop ").trim_end_matches('`');
        assert!(names.contains(name), "{line}");
    }
}

#[test]
fn the_options_of_every_command_and_the_variables_are_those_of_the_page() {
    let mut definition = backstop::cli::definition();
    definition.build();
    let globals: Vec<_> = definition.get_arguments().filter(|arg| arg.is_global_set()).collect();
    let longs = globals.iter().filter_map(|arg| arg.get_long()).map(|long| format!("--{long}"));
    let shorts = globals.iter().filter_map(|arg| arg.get_short()).map(|short| format!("-{short}"));
    let mut in_code: BTreeSet<_> = longs.chain(shorts).collect();
    in_code.extend(["-h".to_owned(), "--help".to_owned()]);
    assert_eq!(words(&rows(section("## Options of every command"), "option")), in_code);
    let variables = globals.iter().filter_map(|arg| arg.get_env()?.to_str().map(str::to_owned));
    assert_eq!(words(&rows(section("## Environment"), "variable")), variables.collect());
}

#[test]
fn the_words_for_errors_are_those_of_the_page() {
    let mut on_page = words(&rows(section("### An error"), "kind"));
    assert!(on_page.remove("usage"));
    let source = include_str!("../../src/error.rs");
    let (_, after) = source.split_once("pub enum ErrorKind {").unwrap();
    let (body, _) = after.split_once("\n}").unwrap();
    let variants = body.lines().filter_map(|line| line.trim().strip_suffix(','));
    let variants = variants.filter(|word| word.chars().all(char::is_alphanumeric));
    assert_eq!(variants.map(snake_case).collect::<BTreeSet<_>>(), on_page);
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

#[test]
fn answers_have_the_keys_that_the_page_promises() {
    let lab = Lab::empty();
    let image = lab.file("disk.raw", &noise(MIB, 1));
    assert_promised("### `backstop init`", &[lab.json(["init"])]);
    let backup = lab.json(["backup", "image", "--vm", "web", &image]);
    assert_promised("### `backstop backup image`", &[backup]);
    assert_promised("### `backstop list`", &[lab.json(["list"])]);
    assert_promised("### `backstop show`", &[lab.json(["show", "web@latest"])]);
    let restore = lab.json(["restore", "disk", "web@latest", "disk", "back.raw"]);
    assert_promised("### `backstop restore disk`", &[restore]);
    let failed = lab.run(["show", "db@latest", "--json"]).expect(1).json();
    assert_promised("### An error", &[failed]);
}

#[test]
fn reports_of_damage_have_the_keys_that_the_page_promises() {
    let lab = Lab::new();
    lab.back_up("web", &noise(2 * MIB, 1));
    damage::flip_a_byte_of_the_largest_pack(&lab);
    std::fs::remove_file(lab.repo().join("config.1")).unwrap();
    let scrub = || lab.run(["scrub", "--level", "points", "--json"]).expect(3).json();
    let with_damaged_pack = scrub();
    damage::packs(&lab).into_iter().for_each(|pack| std::fs::remove_file(pack).unwrap());
    assert_promised("### `backstop scrub`", &[with_damaged_pack, scrub()]);
}

#[test]
fn answers_about_the_engine_have_the_keys_that_the_page_promises() {
    let site = Site::new();
    assert_promised("### `backstop engine trust`", &[site.trust()]);
    let test = site.run(&["engine", "test", "--json"]).expect(0).json();
    assert_promised("### `backstop engine test`", &[test]);
    let mut vm = vm();
    vm["status"] = "paused".into();
    site.fake.set_vm(&vm);
    let refused = site.run(&["eligibility", "web01", "--json"]).expect(4).json();
    assert_promised("### `backstop eligibility`", &[refused]);
}

#[test]
fn the_reader_of_the_page_finds_its_tables() {
    let codes: BTreeMap<_, _> = rows(section("## Exit codes"), "code")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    assert_eq!(codes["5"], "busy");
    assert!(promised(section("### `backstop list`")).contains("points[].disks[].name"));
    assert!(!section("### `backstop list`").contains("restore.point"));
}
