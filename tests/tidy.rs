//! Rules about the source itself. They run with the other tests, so there is no second place to
//! look. The tables come first and are meant to be edited; the checks have tests of their own.

#[path = "tidy/bans.rs"]
mod bans;
#[path = "tidy/crates.rs"]
mod crates;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/scan.rs"]
mod scan;
#[path = "tidy/sizes.rs"]
mod sizes;
#[path = "tidy/tree.rs"]
mod tree;

use std::path::Path;

use bans::{Ban, Scope};
use scan::Source;
use sizes::Limits;

/// Top-level modules, lowest layer first. A module may use itself and any earlier line, but no
/// neighbour on its own line: what two neighbours share belongs in a lower one.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["error"],
    &["format", "monitor"],
    &["crypto"],
    &["store"],
    &["chunk", "diskmap", "index", "pack", "point"],
    &["repo"],
    &["ingest", "prune", "restore", "scrub", "vfs"],
    &["repair"],
    &["fuse", "ovirt"],
    &["attach", "job"],
    &["cli"],
];

const LIMITS: Limits =
    Limits { file_lines: 500, test_lines: 500, function_lines: 70, columns: 100 };

/// Files that may be longer because they are a table and nothing else, each with its reason.
const LONG_TABLES: &[(&str, &str)] = &[];

/// Where each dependency may be used: files, or directories that end in `/`.
const CRATE_HOMES: &[crates::Home] = &[
    ("argon2", &["src/crypto/kdf.rs"]),
    ("blake3", &["src/base/hash.rs"]),
    ("clap", &["src/cli/", "src/main.rs"]),
    ("comfy_table", &["src/cli/"]),
    (
        "crossbeam_channel",
        &["src/pack/", "src/repo/", "src/ingest/", "src/restore/", "src/scrub/", "src/vfs/"],
    ),
    ("flate2", &["src/ingest/qcow2/"]),
    ("fuser", &["src/fuse/"]),
    ("getrandom", &["src/base/chance.rs"]),
    ("httparse", &["src/ovirt/transfer/http.rs"]),
    ("indicatif", &["src/cli/"]),
    ("jiff", &["src/base/clock.rs", "src/base/zone.rs"]),
    // Numbers and flags; calls need `unsafe`, which has homes of its own.
    (
        "libc",
        &[
            "src/store/",
            "src/ingest/",
            "src/restore/",
            "src/vfs/overlay/",
            "src/fuse/",
            "src/attach/",
            "src/cli/sys.rs",
        ],
    ),
    ("log", &["src/fuse/", "src/ovirt/", "src/job/", "src/cli/"]),
    ("memmap2", &["src/base/aligned.rs", "src/store/mapped.rs"]),
    ("quick_xml", &["src/ovirt/configuration/ovf.rs"]),
    ("rayon", &["src/ingest/", "src/restore/", "src/scrub/"]),
    ("reed_solomon_simd", &["src/pack/parity.rs"]),
    ("reqwest", &["src/ovirt/client/"]),
    ("ring", &["src/crypto/aead.rs", "src/ovirt/trust/", "src/ovirt/transfer/digest.rs"]),
    ("rustls", &["src/ovirt/trust/"]),
    (
        "serde",
        &[
            "src/base/id.rs",
            "src/base/clock.rs",
            "src/format/",
            "src/ovirt/client/",
            "src/ovirt/transfer/listing.rs",
            "src/ovirt/wire/",
            "src/attach/registry.rs",
            "src/cli/",
        ],
    ),
    (
        "serde_json",
        &[
            "src/format/",
            "src/vfs/",
            "src/attach/registry.rs",
            "src/ovirt/client/",
            "src/ovirt/transfer/",
            "src/cli/",
        ],
    ),
    ("signal_hook", &["src/fuse/", "src/cli/"]),
    ("toml", &["src/cli/config.rs"]),
    ("zeroize", &["src/base/secret.rs"]),
    ("zstd", &["src/chunk/", "src/ingest/qcow2/"]),
];

/// The files that may hold `unsafe`. Clippy asks for the SAFETY comment.
const UNSAFE_HOMES: &[&str] = &[
    "src/base/aligned.rs",
    "src/store/mapped.rs",
    "src/store/sys.rs",
    "src/ingest/sys.rs",
    "src/restore/sys.rs",
    "src/fuse/sys.rs",
    "src/attach/sys.rs",
    "src/vfs/overlay/sys.rs",
    "src/cli/sys.rs",
];

/// Who may talk to people.
const TERMINAL: &[&str] = &["src/cli/", "src/main.rs"];
/// Who may make files: `store` for the repository, the others for what the user asked for and what
/// need not outlive the machine's run.
const FILE_MAKERS: &[&str] =
    &["src/store/", "src/restore/", "src/vfs/overlay/", "src/attach/registry.rs", "src/cli/"];
const USE_STORE: &str = "a file must be durable or absent: publish it through `store`";
const USE_MONITOR: &str = "the library does not print: report through `monitor`";
const USE_CLOCK: &str = "take a `base::clock::Clock`";

const fn ban(word: &'static str, instead: &'static str) -> Ban {
    Ban { word, scope: Scope::Everywhere, homes: &[], instead }
}

const fn product(word: &'static str, homes: &'static [&'static str], instead: &'static str) -> Ban {
    Ban { word, scope: Scope::Product, homes, instead }
}

const fn source(word: &'static str, homes: &'static [&'static str], instead: &'static str) -> Ban {
    Ban { word, scope: Scope::Source, homes, instead }
}

/// Words of code with few homes or none, and what to do in their place.
const BANS: &[Ban] = &[
    ban("dbg!(", "remove it"),
    ban("todo!(", "write it, or leave it out"),
    ban("unimplemented!(", "write it, or leave it out"),
    ban("#[ignore", "run it, or delete it; a test that cannot run here says why in its output"),
    product("print!(", TERMINAL, USE_MONITOR),
    product("println!(", TERMINAL, USE_MONITOR),
    product("eprint!(", TERMINAL, USE_MONITOR),
    product("eprintln!(", TERMINAL, USE_MONITOR),
    product(".unwrap()", &["src/store/testing/"], "return an error, or `expect` what cannot fail"),
    product("fs::write", FILE_MAKERS, USE_STORE),
    product("fs::rename", FILE_MAKERS, USE_STORE),
    product("File::create", FILE_MAKERS, USE_STORE),
    product("File::create_new", FILE_MAKERS, USE_STORE),
    source("SystemTime::now", &["src/base/clock.rs"], USE_CLOCK),
    source("Timestamp::now", &["src/base/clock.rs"], USE_CLOCK),
    source("Zoned::now", &["src/base/clock.rs"], USE_CLOCK),
    source("unsafe", UNSAFE_HOMES, "only the files of UNSAFE_HOMES may"),
];

/// Promises in comments that nobody keeps. Written in pieces, as below, so that this file may name
/// them.
const NEVER: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X")];
/// A promise that needs the number of its issue.
const LATER: &str = concat!("TO", "DO");

/// Texts that say more about the machine of whoever wrote them than about the product.
const FOREIGN: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/root/", ".cargo"), "a path of one machine"),
    (concat!("sub", "agent"), "no word of the product"),
];

/// Fails with every problem on a line of its own.
fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

fn assert_sources(check: impl Fn(&Source) -> Vec<String>) {
    let sources = tree::tree(&tree::read_package()).sources;
    let mut problems: Vec<String> = sources.iter().flat_map(check).collect();
    problems.dedup();
    assert_none(&problems);
}

fn assert_texts(check: impl Fn(&str, &str) -> Vec<String>) {
    let files = tree::read_package();
    assert_none(&files.iter().flat_map(|(path, text)| check(path, text)).collect::<Vec<_>>());
}

#[test]
fn a_module_uses_itself_and_lower_layers_only() {
    assert_sources(|source| layers::check(LAYERS, source));
}

#[test]
fn imports_name_what_they_use() {
    assert_sources(|source| match source.path.starts_with("src/") {
        true => layers::check_imports(source),
        false => Vec::new(),
    });
}

#[test]
fn files_are_short() {
    assert_sources(|source| match LONG_TABLES.iter().any(|(path, _)| *path == source.path) {
        true => Vec::new(),
        false => sizes::check_file(LIMITS, source),
    });
}

#[test]
fn functions_fit_on_a_screen() {
    assert_sources(|source| sizes::check_functions(LIMITS, source));
}

#[test]
fn lines_are_at_most_100_columns_wide() {
    assert_sources(|source| sizes::check_columns(LIMITS, source));
}

#[test]
fn an_external_crate_is_used_in_its_home_only() {
    assert_sources(|source| match source.path.starts_with("src/") {
        true => crates::check_uses(CRATE_HOMES, source),
        false => Vec::new(),
    });
}

#[test]
fn every_dependency_has_a_home() {
    let files = tree::read_package();
    assert_none(&crates::check_manifest(CRATE_HOMES, &files["Cargo.toml"]));
}

#[test]
fn banned_words_stay_in_their_homes() {
    assert_sources(|source| bans::check_code(BANS, source));
}

#[test]
fn an_exception_to_a_lint_has_a_reason_and_ends_with_it() {
    assert_sources(bans::check_exceptions);
}

#[test]
fn promises_in_comments_name_their_issue() {
    assert_texts(|path, text| bans::check_promises(NEVER, LATER, path, text));
}

#[test]
fn the_product_does_not_speak_of_the_machines_it_was_written_on() {
    assert_texts(|path, text| bans::check_text(FOREIGN, path, text));
}

#[test]
fn every_rust_file_belongs_to_a_target() {
    assert_none(&tree::tree(&tree::read_package()).problems);
}

#[test]
fn links_between_pages_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_texts(|path, text| match path.ends_with(".md") {
        true => links::check(path, text, |file| root.join(file).exists()),
        false => Vec::new(),
    });
}
