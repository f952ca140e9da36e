//! The pages of `docs/format/` and the code name the same bytes.

#[path = "support/format_samples.rs"]
mod samples;

#[path = "format_pages/catalogue.rs"]
mod catalogue;
#[path = "format_pages/keys.rs"]
mod keys;
#[path = "format_pages/page.rs"]
mod page;
#[path = "format_pages/parity.rs"]
mod parity;
#[path = "format_pages/sealing.rs"]
mod sealing;
#[path = "format_pages/walk.rs"]
mod walk;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;

use backstop::base::hash::{ChainingValue, IdHasher, blake3_256};
use backstop::base::id::{PackId, SegmentId, SessionId, SlotId};
use backstop::base::limits::{
    CATALOGUE_BYTES_MAX, CATALOGUED_COMMIT_BYTES_MAX, CHUNK_BYTES, DISK_BYTES_MAX,
    DISKS_PER_POINT_MAX, PACK_BYTES_MAX, SLICE_BYTES, SMALL_OBJECT_BYTES_MAX,
};
use backstop::base::units::ChunkGrid;
use backstop::format::codec::{DecodeError, Field};
use backstop::format::commit::Decision;
use backstop::format::config::{CONFIG_COPIES, Config};
use backstop::format::entry::{ENTRY_LEN_MAX, EntryHead};
use backstop::format::journal::EngineNote;
use backstop::format::key_slot::SLOT_COPIES;
use backstop::format::layout::{Area, ObjectName};
use backstop::format::lists::{Condemned, Damaged, Forgotten, Hold};
use backstop::format::mapnode::MapNode;
use backstop::format::session::SessionRecord;
use backstop::format::vm_config::{VM_CONFIG_VERSION, VmConfig};
use backstop::format::{self, entry, envelope, mapnode, pack, sealed, segment};
use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};

use page::{Page, PageField};

fn named(fields: &[Field]) -> Vec<PageField> {
    fields.iter().map(|field| (field.name.to_owned(), field.at, field.len)).collect()
}

#[test]
fn every_table_of_a_layout_lists_the_fields_of_the_code() {
    for (name, heading, fields) in [
        ("envelope.md", "Frame", envelope::FIELDS),
        ("pack.md", "Header", pack::HEADER_FIELDS),
        ("pack.md", "Entry", entry::HEADER_FIELDS),
        ("pack.md", "Slice row", entry::SLICE_FIELDS),
        ("pack.md", "Table", pack::TABLE_FIELDS),
        ("pack.md", "Footer", pack::FOOTER_FIELDS),
        ("parity.md", "Object", format::parity::HEADER_FIELDS),
        ("catalogue.md", "Header", format::catalogue::HEADER_FIELDS),
        ("catalogue.md", "Row", format::catalogue::ROW_FIELDS),
        ("mapnode.md", "Node", mapnode::FIELDS),
        ("index.md", "Entry", segment::ENTRY_FIELDS),
        ("index.md", "Footer", segment::FOOTER_FIELDS),
    ] {
        let layout = Page::load(name).layout(heading);
        assert_eq!(layout, named(fields), "{name}, {heading}");
        let mut end = 0;
        for (field, at, len) in layout {
            assert_eq!(at, end, "{name}, {heading}: {field} begins where the one before ends");
            end = at + len;
        }
    }
    let page = Page::load("index.md").layout("Pages");
    let (body, check) = (segment::PAGE_BODY_LEN, segment::PAGE_CHECK_LEN);
    assert_eq!(page, [("body".to_owned(), 0, body), ("check".to_owned(), body, check)]);
}

#[test]
fn every_magic_on_a_page_is_the_one_that_is_written() {
    let (data_pack, _) = samples::data_pack();
    let footer = &data_pack[data_pack.len() - pack::PACK_FOOTER_LEN..];
    for (name, heading, object) in [
        ("envelope.md", "Frame", samples::config().encode().as_slice()),
        ("pack.md", "Header", &data_pack),
        ("pack.md", "Entry", &entry::ENTRY_MAGIC),
        ("pack.md", "Footer", footer),
        ("parity.md", "Object", &samples::parity().encode()),
        ("catalogue.md", "Header", &samples::catalogue()),
        ("mapnode.md", "Node", &samples::root_map().encode()),
        ("index.md", "Footer", &samples::segment_footer().encode()),
    ] {
        let magic = Page::load(name).magic(heading);
        assert!(magic.len() >= 4 && object.starts_with(&magic), "{name}, {heading}");
    }
}

#[test]
fn the_page_of_the_envelope_lists_every_kind() {
    let mut kinds = Vec::new();
    for object in [
        samples::config().encode(),
        samples::session().encode(),
        samples::committed().encode(),
        samples::forgotten().encode(),
        samples::condemned().encode(),
        samples::damaged().encode(),
        samples::engine_note().encode(),
        samples::hold().encode(),
        samples::key_slot().encode(),
    ] {
        let tag: Vec<_> = object[8..12].iter().map(|byte| format!("{byte:02x}")).collect();
        kinds.push((String::from_utf8_lossy(&object[8..12]).into_owned(), tag.join(" ")));
    }
    let rows = Page::load("envelope.md").table("Kinds", &["Kind", "Bytes", "Path", "Page"]);
    let listed: Vec<_> = rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(listed, kinds);
}

#[test]
fn the_overview_lists_every_path() {
    let id = SessionId::from_bytes([0xab; 16]);
    let configs: Vec<_> = (0..CONFIG_COPIES).map(|n| ObjectName::config(n).to_string()).collect();
    let pack = ObjectName::pack(PackId::from_bytes([0xab; 32])).to_string();
    let parity = ObjectName::parity(PackId::from_bytes([0xab; 32])).to_string();
    let segment = ObjectName::segment(SegmentId::from_bytes([0xab; 32])).to_string();
    let of_session = |name: ObjectName| name.to_string().replace(&id.to_string(), "<session id>");
    let slot = SlotId::from_bytes([0xab; 16]);
    let slots = (0..SLOT_COPIES).map(|n| ObjectName::key_slot(slot, n).to_string());
    let slots: Vec<_> = slots.map(|name| name.replace(&slot.to_string(), "<slot id>")).collect();
    let expected = [
        configs.join(", "),
        slots.join(", "),
        pack.replace(&"ab".repeat(32), "<pack id>").replace("/ab/", "/<hh>/"),
        parity.replace(&"ab".repeat(32), "<pack id>"),
        segment.replace(&"ab".repeat(32), "<segment id>"),
        of_session(ObjectName::session(id)),
        of_session(ObjectName::commit(id)),
        ObjectName::catalogue(samples::catalogue_id())
            .to_string()
            .replace(&samples::catalogue_id().to_string(), "<catalogue id>"),
        of_session(ObjectName::forgotten(id)),
        of_session(ObjectName::hold(id)),
        format!(
            "{}, {}",
            of_session(ObjectName::condemned(id)),
            of_session(ObjectName::condemned_part(id, 1)).replace(".1.", ".<part>.")
        ),
        of_session(ObjectName::damaged(id)),
        of_session(ObjectName::engine_note(id, 1)).replace(".1", ".<n>"),
        format!("{}/<vm key>", Area::Locks.directory()),
        format!("{}/<old path, with dots>", Area::Quarantine.directory()),
    ];
    assert_eq!(expected.len(), Area::ALL.len());
    let rows = Page::load("overview.md").table("Directory layout", &["Path", "Object", "Page"]);
    let listed: Vec<_> = rows.into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(listed, expected);
}

/// Every path of a field in a JSON value, in the notation of the pages.
fn json_paths(value: &serde_json::Value, prefix: &str, out: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if prefix.is_empty() { "" } else { "." };
                let path = format!("{prefix}{dot}{name}");
                json_paths(value, &path, out);
                out.insert(path);
            }
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| json_paths(item, &format!("{prefix}[]"), out));
        }
        _ => {}
    }
}

/// Checks one small object: its vector, its JSON, its table of fields.
fn check_small<T: PartialEq + Debug>(
    (name, heading, vector): (&'static str, Option<&str>, &str),
    value: &T,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    let page = Page::load(name);
    let bytes = page.hex(vector);
    assert_eq!(bytes, encode(value), "{name}: the vector {vector} is what the code writes");
    assert_eq!(decode(&bytes).as_ref(), Ok(value), "{name}: the vector {vector} reads back");
    let payload: serde_json::Value =
        serde_json::from_slice(&bytes[envelope::ENVELOPE_LEN..]).expect("valid JSON");
    assert_eq!(page.json(vector), payload, "{name}: the JSON block {vector} is the payload");
    if let Some(heading) = heading {
        let mut paths = BTreeSet::new();
        json_paths(&payload, "", &mut paths);
        assert_eq!(page.json_fields(heading), paths, "{name}, {heading}");
    }
}

#[test]
fn the_pages_of_small_objects_list_their_fields_and_show_their_bytes() {
    check_small(
        ("config.md", Some("Payload"), "config"),
        &samples::config(),
        Config::encode,
        Config::decode,
    );
    check_small(
        ("session.md", Some("Payload"), "session"),
        &samples::session(),
        SessionRecord::encode,
        SessionRecord::decode,
    );
    for (place, decision) in [
        (("commit.md", None, "committed"), samples::committed()),
        (("commit.md", None, "committed-vm"), samples::committed_vm()),
        (("commit.md", None, "aborted"), Decision::Aborted),
        (("envelope.md", None, "fenced"), Decision::Fenced),
    ] {
        check_small(place, &decision, Decision::encode, Decision::decode);
    }
    let mut paths = BTreeSet::new();
    for vector in ["committed", "committed-vm"] {
        json_paths(&Page::load("commit.md").json(vector), "", &mut paths);
    }
    assert_eq!(Page::load("commit.md").json_fields("Payload"), paths);
    check_small(
        ("journal.md", Some("Payload"), "note"),
        &samples::engine_note(),
        EngineNote::encode,
        EngineNote::decode,
    );
    check_small(
        ("lists.md", Some("Condemned"), "condemned"),
        &samples::condemned(),
        Condemned::encode,
        Condemned::decode,
    );
    check_small(
        ("lists.md", Some("Damaged"), "damaged"),
        &samples::damaged(),
        Damaged::encode,
        Damaged::decode,
    );
    check_small(
        ("lists.md", Some("Forgotten"), "forgotten"),
        &samples::forgotten(),
        Forgotten::encode,
        Forgotten::decode,
    );
    check_small(("lists.md", Some("Held"), "hold"), &samples::hold(), Hold::encode, Hold::decode);
}

#[test]
fn the_page_of_a_vm_lists_the_members_and_shows_a_configuration() {
    let (page, config) = (Page::load("vm.md"), samples::vm_config());
    let vector = page.json("vm");
    let written: serde_json::Value = serde_json::from_slice(&config.encode()).expect("valid JSON");
    assert_eq!(vector, written);
    assert_eq!(VmConfig::decode(vector.to_string().as_bytes()), Ok(config));
    assert_eq!(vector["version"], VM_CONFIG_VERSION);
    let mut paths = BTreeSet::new();
    json_paths(&vector, "", &mut paths);
    // The members of `vm` are the engine's.
    paths.retain(|path| !path.starts_with("vm."));
    assert_eq!(page.json_fields("Document"), paths);
}

#[test]
fn the_page_of_versions_shows_a_configuration_that_is_newer_and_not_damaged() {
    let bytes = Page::load("versions.md").hex("config-newer");
    assert_eq!(bytes, samples::config_newer().encode());
    assert!(Config::decode(&bytes).unwrap_err().is_newer());
}

#[test]
fn the_page_of_versions_names_the_versions_that_are_written() {
    let version = |fields: &[Field], bytes: &[u8]| {
        let field = fields.iter().find(|field| field.name == "version").expect("a version");
        bytes[field.at..field.at + field.len].iter().rev().fold(0, |n, byte| n << 8 | *byte as u32)
    };
    let written = [
        ("small objects", version(envelope::FIELDS, &samples::config().encode())),
        ("pack", version(pack::HEADER_FIELDS, &samples::data_pack().0)),
        ("parity", version(format::parity::HEADER_FIELDS, &samples::parity().encode())),
        ("catalogue", version(format::catalogue::HEADER_FIELDS, &samples::catalogue())),
        ("sealed object", version(sealed::FIELDS, &Page::load("sealing.md").hex("sealed-commit"))),
        ("map node", version(mapnode::FIELDS, &samples::root_map().encode())),
        ("index segment", version(segment::FOOTER_FIELDS, &samples::segment_footer().encode())),
    ];
    let titles = ["Object", "Page", "Version", "First release", "Change"];
    let rows = Page::load("versions.md").table("Format versions", &titles);
    let newest: HashMap<_, u32> =
        rows.iter().map(|row| (row[0].as_str(), row[2].parse().expect("a number"))).collect();
    assert_eq!(newest, HashMap::from(written));
}

#[test]
fn the_vectors_of_binary_objects_are_what_the_code_writes() {
    let packs = Page::load("pack.md");
    assert_eq!(packs.hex("data-pack"), samples::data_pack().0);
    assert_eq!(packs.hex("map-pack"), samples::map_pack().0);
    let nodes = Page::load("mapnode.md");
    for (vector, node) in [
        ("root-map", samples::root_map()),
        ("data-map", samples::data_map()),
        ("inner-map", samples::inner_map()),
    ] {
        assert_eq!(nodes.hex(vector), node.encode(), "{vector}");
        assert_eq!(MapNode::decode(&nodes.hex(vector)), Ok(node), "{vector}");
    }
    assert_eq!(Page::load("index.md").hex("segment"), samples::segment());
    assert_eq!(Page::load("catalogue.md").hex("catalogue"), samples::catalogue());
}

#[test]
fn the_ids_that_the_pages_tell_are_those_of_the_vectors() {
    for (name, vector) in [
        ("pack.md", "data-pack"),
        ("pack.md", "map-pack"),
        ("mapnode.md", "root-map"),
        ("mapnode.md", "data-map"),
        ("index.md", "segment"),
    ] {
        let page = Page::load(name);
        let id = SegmentId::from_bytes(blake3_256(&page.hex(vector)));
        assert!(page.text().contains(&format!("`{id}`")), "{name}: the id of {vector} is {id}");
    }
    let sample = samples::session_id().to_string();
    assert!(Page::load("overview.md").text().contains(&sample));
}

/// Merges values by an expression such as `((0 1) 2)`; returns the rest of the expression.
fn merge_by<'a>(
    text: &'a str,
    values: &[ChainingValue],
    is_root: bool,
) -> (ChainingValue, &'a str) {
    let Some(inner) = text.strip_prefix('(') else {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        return (values[text[..digits].parse::<usize>().expect("a slice")], &text[digits..]);
    };
    let (left, rest) = merge_by(inner, values, false);
    let (right, rest) = merge_by(rest.strip_prefix(' ').expect("two children"), values, false);
    let rest = rest.strip_prefix(')').expect("two children");
    let value = match is_root {
        true => *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes(),
        false => merge_subtrees_non_root(&left, &right, Mode::Hash),
    };
    (value, rest)
}

#[test]
fn chaining_values_merge_in_the_shapes_that_the_page_shows() {
    let page = Page::load("pack.md");
    let ids = IdHasher::default();
    let shapes = page.table("How slices prove the chunk", &["Slices", "Tree"]);
    assert_eq!(shapes.len(), CHUNK_BYTES / SLICE_BYTES - 1);
    let plain: Vec<u8> = (0..CHUNK_BYTES).map(|i| (i / 3 + i / 1000) as u8).collect();
    for row in shapes {
        let slices: usize = row[0].parse().expect("a number");
        for len in [(slices - 1) * SLICE_BYTES + 1, slices * SLICE_BYTES] {
            let hash = ids.hash(&plain[..len]);
            assert_eq!(hash.values().len(), slices);
            let (root, rest) = merge_by(&row[1], hash.values(), true);
            assert_eq!((&root, rest), (hash.id().as_bytes(), ""), "{row:?}");
        }
    }
    let five = ids.hash(&samples::five_slices());
    let vector = page.hex("five-slices");
    let (values, id) = vector.split_at(5 * 32);
    assert_eq!((values, id), (five.values().as_flattened(), &five.id().as_bytes()[..]));
    assert_eq!(ids.merge(values.as_chunks().0), five.id());
    let one = ids.hash(&samples::letters_chunk());
    assert_eq!(one.values(), [*one.id().as_bytes()], "one slice: its value is the chunk id");
}

#[test]
fn a_reader_gets_from_the_vector_of_a_commit_to_the_bytes_of_its_disks() {
    let packs = ["data-pack", "map-pack"].map(|vector| Page::load("pack.md").hex(vector));
    assert_eq!(walk::table_of(&packs[0]).len() + walk::table_of(&packs[1]).len(), 4);
    let objects = walk::Objects {
        packs: packs.into_iter().map(|pack| (blake3_256(&pack), pack)).collect(),
        segment: Page::load("index.md").hex("segment"),
    };
    let commit = Decision::decode(&Page::load("commit.md").hex("committed"));
    let Ok(Decision::Committed { point }) = commit else { panic!("a restore point") };
    assert_eq!(point.disks.len(), 2);
    for disk in &point.disks {
        let bytes = objects.disk(disk.map_root, disk.size_bytes);
        assert!(bytes == walk::expected(&disk.name), "the bytes of {}", disk.name);
    }
}

#[test]
fn entries_are_found_by_the_magic_that_the_page_shows() {
    let pack = Page::load("pack.md").hex("data-pack");
    let magic = Page::load("pack.md").magic("Entry");
    let found = (0..pack.len()).filter(|at| pack[*at..].starts_with(&magic));
    let heads: Vec<_> = found.map(|at| EntryHead::decode(&pack[at..]).expect("a head")).collect();
    let chunks: Vec<_> = heads.iter().map(EntryHead::chunk).collect();
    assert_eq!(chunks, walk::table_of(&pack));
    let lens: Vec<_> = heads.iter().map(EntryHead::entry_len).collect();
    let samples = [samples::hello_entry().len(), samples::letters_entry().len()];
    assert_eq!(lens, samples);
}

/// The number with a blank between groups of three digits, as the pages write it.
fn spaced(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(|group| String::from_utf8_lossy(group)).collect();
    groups.join(" ")
}

#[test]
fn the_limits_that_the_pages_tell_are_those_of_the_code() {
    for (name, limit) in [
        ("overview.md", CHUNK_BYTES),
        ("overview.md", SLICE_BYTES),
        ("overview.md", SMALL_OBJECT_BYTES_MAX),
        ("overview.md", PACK_BYTES_MAX),
        ("envelope.md", SMALL_OBJECT_BYTES_MAX),
        ("pack.md", PACK_BYTES_MAX),
        ("pack.md", ENTRY_LEN_MAX),
        ("index.md", ENTRY_LEN_MAX),
        ("catalogue.md", CATALOGUE_BYTES_MAX),
        ("catalogue.md", CATALOGUED_COMMIT_BYTES_MAX),
    ] {
        let number = spaced(limit);
        assert!(Page::load(name).text().contains(&number), "{name} does not name {number}");
    }
    let overview = Page::load("overview.md");
    assert_eq!(DISK_BYTES_MAX, 1 << 46);
    assert!(overview.text().contains("2^46"));
    assert!(overview.text().contains(&format!("at most {DISKS_PER_POINT_MAX} disks")));
}

#[test]
fn the_levels_of_a_map_are_those_that_the_page_tells() {
    let titles = ["Chunks", "Disk", "Levels", "Level of the root"];
    let number = |text: &str| text.replace(' ', "").parse::<u64>().expect("a number");
    let mut next = 0;
    for row in Page::load("mapnode.md").table("Shape of the tree", &titles) {
        let (first, last) = row[0].split_once(" to ").expect("a range");
        let (levels, root) = (number(&row[2]), number(&row[3]));
        assert_eq!((number(first), levels), (next, root + 1), "{row:?}");
        for chunks in [number(first), number(last)] {
            let grid = ChunkGrid::new(chunks * CHUNK_BYTES as u64);
            assert_eq!(u64::from(grid.map_levels()), levels, "{chunks} chunks");
        }
        next = number(last) + 1;
    }
    assert_eq!((next - 1) * CHUNK_BYTES as u64, DISK_BYTES_MAX);
}
