//! Decoders meet bytes that nobody wrote: no panic, no other spelling of the same value, and no
//! more memory than the bytes account for.

#[path = "support/format_checks.rs"]
mod checks;
#[path = "format_hostile/memory.rs"]
mod memory;
#[path = "support/format_samples.rs"]
#[expect(dead_code, reason = "the pages' test uses the rest")]
mod samples;

use backstop::format::catalogue::Catalogue;
use backstop::format::commit::Decision;
use backstop::format::config::Config;
use backstop::format::entry::EntryHead;
use backstop::format::envelope::ENVELOPE_LEN;
use backstop::format::lists::{Condemned, Damaged, Forgotten, Hold};
use backstop::format::mapnode::MapNode;
use backstop::format::parity::Parity;
use backstop::format::segment::INDEX_ENTRY_LEN;
use backstop::format::session::SessionRecord;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use checks::{BINARY, SMALL, seal};

/// What a decoder may hold that does not depend on the length of its input: a map node has 256
/// slots, and a message some text.
const MEMORY_BASE: usize = 16 << 10;
/// Bytes of memory for each byte of a binary object: rows are as long in memory as on disk, and
/// their vector may be grown by copying.
const MEMORY_PER_BINARY_BYTE: usize = 4;
/// Bytes of memory for each byte of JSON: an empty string in an array takes 3 bytes of text and 24
/// of memory, its vector is twice as long as needed, and the old half lives while it grows.
const MEMORY_PER_JSON_BYTE: usize = 25;

/// One change of a valid encoding.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    Repeat(Index, u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = any::<Index>;
    let change = prop_oneof![
        4 => (at(), prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()])
            .prop_map(|(at, byte)| Change::Set(at, byte)),
        4 => (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => at().prop_map(Change::Cut),
        1 => (at(), vec(any::<u8>(), 1..64)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (at(), 1..64u8).prop_map(|(at, len)| Change::Remove(at, len)),
        1 => (at(), 1..64u8).prop_map(|(at, len)| Change::Repeat(at, len)),
    ];
    vec(change, 0..6)
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let place = |at: &Index| at.index(bytes.len().max(1));
        let span = |at: &Index, len: u8| {
            let start = place(at).min(bytes.len());
            start..(start + usize::from(len)).min(bytes.len())
        };
        match change {
            _ if bytes.is_empty() => {}
            Change::Set(at, byte) => {
                let at = place(at);
                bytes[at] = *byte;
            }
            Change::Flip(at, bit) => {
                let at = place(at);
                bytes[at] ^= 1 << bit;
            }
            Change::Cut(at) => bytes.truncate(place(at)),
            Change::Insert(at, more) => {
                let at = place(at);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Remove(at, len) => {
                let span = span(at, *len);
                bytes.drain(span);
            }
            Change::Repeat(at, len) => {
                let span = span(at, *len);
                bytes.extend_from_within(span);
            }
        }
    }
    bytes
}

fn binary_samples() -> Vec<Vec<u8>> {
    vec![
        samples::hello_entry(),
        samples::letters_entry(),
        samples::data_pack().0,
        samples::map_pack().0,
        samples::root_map().encode(),
        samples::inner_map().encode(),
        samples::segment_footer().encode().to_vec(),
        samples::index_entries()[0].encode().to_vec(),
        samples::parity().encode(),
        samples::catalogue(),
    ]
}

fn payloads() -> Vec<Vec<u8>> {
    let objects = [
        samples::config().encode(),
        samples::session().encode(),
        samples::committed().encode(),
        Decision::Fenced.encode(),
        samples::condemned().encode(),
        samples::damaged().encode(),
        samples::forgotten().encode(),
        samples::committed_vm().encode(),
        samples::engine_note().encode(),
        samples::hold().encode(),
        samples::key_slot().encode(),
    ];
    objects.map(|object| object[ENVELOPE_LEN..].to_vec()).to_vec()
}

fn check_all(bytes: &[u8]) {
    BINARY.iter().for_each(|(_, check)| check(bytes));
    SMALL.iter().for_each(|(_, check)| check(bytes));
    checks::names(&String::from_utf8_lossy(bytes));
}

/// Lets every decoder read `bytes` and bounds the memory that it holds meanwhile.
fn bound_memory(bytes: &[u8]) {
    let bound = |name: &str, per_byte: usize, decode: &dyn Fn()| {
        let (peak, limit) = (memory::peak_bytes(decode), per_byte * bytes.len() + MEMORY_BASE);
        assert!(peak <= limit, "{name}: {peak} bytes of memory for {} bytes", bytes.len());
    };
    let binary = MEMORY_PER_BINARY_BYTE;
    bound("entry head", binary, &|| drop(EntryHead::decode(bytes)));
    bound("pack", binary, &|| drop(checks::read_pack(bytes)));
    bound("map node", binary, &|| drop(MapNode::decode(bytes)));
    bound("parity", binary, &|| drop(Parity::decode(bytes)));
    bound("catalogue", binary, &|| drop(Catalogue::decode(bytes)));
    let json = MEMORY_PER_JSON_BYTE;
    bound("config", json, &|| drop(Config::decode(bytes)));
    bound("session", json, &|| drop(SessionRecord::decode(bytes)));
    bound("decision", json, &|| drop(Decision::decode(bytes)));
    bound("forgotten", json, &|| drop(Forgotten::decode(bytes)));
    bound("condemned", json, &|| drop(Condemned::decode(bytes)));
    bound("damaged", json, &|| drop(Damaged::decode(bytes)));
    bound("hold", json, &|| drop(Hold::decode(bytes)));
}

/// Times in the two right spellings, and in many that are nearly right.
const TIME_LIKE: &str = "[-+]?[0-9]{4,6}-[01][0-9]-[0-3][0-9][Tt ]?\
    [0-2][0-9]:?[0-6][0-9]:?[0-6][0-9](\\.0)?(Z|z|[+-]00:00)?";

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_bytes_are_refused_or_read_back(bytes in vec(any::<u8>(), 0..400)) {
        check_all(&bytes);
        bound_memory(&bytes);
    }

    #[test]
    fn changed_encodings_are_refused_or_read_back(
        sample in any::<Index>(),
        changes in changes(),
    ) {
        let bytes = changed(sample.get(&binary_samples()).clone(), &changes);
        check_all(&bytes);
        bound_memory(&bytes);
    }

    #[test]
    fn changed_packs_under_a_right_checksum_are_refused_or_read_back(
        sample in 2..4usize,
        changes in changes(),
    ) {
        let mut bytes = changed(binary_samples().swap_remove(sample), &changes);
        checks::reseal_pack(&mut bytes);
        check_all(&bytes);
        bound_memory(&bytes);
    }

    #[test]
    fn changed_catalogues_under_a_right_checksum_are_refused_or_read_back(changes in changes()) {
        let mut bytes = changed(samples::catalogue(), &changes);
        checks::reseal_catalogue(&mut bytes);
        check_all(&bytes);
        bound_memory(&bytes);
    }

    #[test]
    fn index_entries_of_any_bytes_have_one_encoding(
        mut bytes in vec(any::<u8>(), INDEX_ENTRY_LEN),
        kind in 0..4u8,
        high in 0..32u8,
    ) {
        bytes[46] = high;
        bytes[47] = kind;
        bytes[42..44].copy_from_slice(&[0, 0]);
        check_all(&bytes);
    }

    #[test]
    fn changed_json_under_a_right_checksum_is_refused_or_read_back(
        sample in any::<Index>(),
        changes in changes(),
    ) {
        let payload = changed(sample.get(&payloads()).clone(), &changes);
        for (kind, check) in SMALL {
            let bytes = seal(kind, &payload);
            check(&bytes);
            bound_memory(&bytes);
        }
    }

    #[test]
    fn texts_like_names_and_times_parse_in_one_spelling(
        name in "[0-9a-f]{32}((\\.[0-9]{1,3})?\\.condemned)?|[0-9a-f]{64}|config\\.[0-3]",
        time in TIME_LIKE,
        any_text in ".{0,40}",
    ) {
        [name, time, any_text].iter().for_each(|text| checks::names(text));
    }
}

/// Decodes a payload as every kind of small object. Says which kinds let it through.
fn accepted(payload: &[u8]) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    for (kind, check) in SMALL {
        let bytes = seal(kind, payload);
        check(&bytes);
        bound_memory(&bytes);
        let right = match *kind {
            b"CONF" => Config::decode(&bytes).is_ok(),
            b"SESS" => SessionRecord::decode(&bytes).is_ok(),
            b"CMIT" => Decision::decode(&bytes).is_ok(),
            b"FRGT" => Forgotten::decode(&bytes).is_ok(),
            b"COND" => Condemned::decode(&bytes).is_ok(),
            _ => Damaged::decode(&bytes).is_ok(),
        };
        if right {
            kinds.push(std::str::from_utf8(*kind).expect("letters"));
        }
    }
    kinds
}

/// The payload of a session with another value in one field.
fn session_with(field: &str, value: &str) -> Vec<u8> {
    let mut fields = vec![
        ("kind", "\"backup\""),
        ("vm", "null"),
        ("began", "\"2026-11-23T01:30:00Z\""),
        ("host", "\"h\""),
        ("pid", "1"),
    ];
    fields.retain(|(name, _)| *name != field);
    fields.push((field, value));
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(",")).into_bytes()
}

#[test]
fn json_that_is_nested_deeply_does_not_exhaust_the_stack() {
    let depth = 1 << 17;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for field in ["repo", "vm", "kind", "decision", "point", "packs", "copies", "unknown"] {
            let bomb = format!("{}0{}", open.repeat(depth), close.repeat(depth));
            let payload = format!("{{\"{field}\":{bomb}}}");
            assert!(accepted(payload.as_bytes()).is_empty());
            assert!(accepted(&payload.as_bytes()[..depth]).is_empty());
        }
    }
    let nested = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(accepted(&session_with("unknown", &nested)), ["SESS"]);
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let digits = "9".repeat(1 << 20);
    for number in ["-1", "4294967296", "1.0", "1e0", "1e400", "18446744073709551616", &digits] {
        assert!(accepted(&session_with("pid", number)).is_empty(), "{number:.30}");
    }
    assert_eq!(accepted(&session_with("pid", "4294967295")), ["SESS"]);
    assert_eq!(accepted(&session_with("unknown", "1.5")), ["SESS"]);
}

#[test]
fn a_known_field_that_stands_twice_is_refused() {
    for payload in [
        &br#"{"packs":[],"packs":[]}"#[..],
        br#"{"decision":"fenced","decision":"aborted"}"#,
        br#"{"decision":"fenced","decision":"fenced"}"#,
        br#"{"copies":[],"missing_packs":[],"copies":[]}"#,
    ] {
        assert!(accepted(payload).is_empty(), "{}", String::from_utf8_lossy(payload));
    }
    assert_eq!(accepted(br#"{"packs":[],"new":1,"new":2}"#), ["COND"]);
}

#[test]
fn a_decision_has_a_restore_point_if_and_only_if_it_committed() {
    let payload = payloads().swap_remove(2);
    assert_eq!(accepted(&payload), ["CMIT"]);
    let text = String::from_utf8(payload).expect("UTF-8");
    assert!(accepted(text.replace("\"committed\"", "\"fenced\"").as_bytes()).is_empty());
    assert!(accepted(br#"{"decision":"committed"}"#).is_empty());
    assert!(accepted(br#"{"decision":"committed","point":null}"#).is_empty());
    assert!(accepted(br#"{"decision":"undone"}"#).is_empty());
    assert_eq!(accepted(br#"{"decision":"fenced","by":"somebody"}"#), ["CMIT"]);
}

#[test]
fn long_strings_are_bounded_where_they_are_names_and_short_in_messages() {
    let long = "x".repeat(10 << 20);
    assert_eq!(accepted(&session_with("host", &format!("\"{long}\""))), ["SESS"]);
    assert!(accepted(&session_with("kind", &format!("\"{long}\""))).is_empty());
    assert!(accepted(&session_with("began", &format!("\"{long}\""))).is_empty());
    let commit = String::from_utf8(payloads().swap_remove(2)).expect("UTF-8");
    let named = |name: &str| commit.replace("\"web\"", &format!("\"{name}\""));
    assert_eq!(accepted(named(&long[..255]).as_bytes()), ["CMIT"]);
    for name in [&long[..256], &long, "", "a\\u0007"] {
        assert!(accepted(named(name).as_bytes()).is_empty(), "{name:.10}");
    }
    let feature = String::from_utf8(payloads().swap_remove(0)).expect("UTF-8");
    assert!(accepted(feature.replace("[]", &format!("[\"{long}\"]")).as_bytes()).is_empty());
}

#[test]
fn memory_follows_the_length_of_json_whatever_it_is_made_of() {
    let len = 1 << 20;
    for item in ["0,", "\"\",", "[],", "{},", "{\"\":0},", "\"\\u0041\",", "null,"] {
        let mut items = item.repeat(len / item.len());
        items.pop();
        for field in ["required_features", "packs", "point", "copies", "decision", "unknown"] {
            assert!(accepted(format!("{{\"{field}\":[{items}]}}").as_bytes()).is_empty());
        }
        let commit = String::from_utf8(payloads().swap_remove(2)).expect("UTF-8");
        let commit = commit.replace("[\"/images/base.raw\"]", &format!("[{items}]"));
        accepted(commit.as_bytes());
    }
}
