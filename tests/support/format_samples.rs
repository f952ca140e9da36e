//! One small repository, object by object: the test vectors of `docs/format/`.
//!
//! A restore point of the VM "web" with two disks. `root` is one hole and a chunk of two slices,
//! zeros and then "hello"; `data` is a thousand times the letter a.

use backstop::base::chance::Chance;
use backstop::base::clock::UtcTime;
use backstop::base::hash::{IdHasher, blake3_256};
use backstop::base::id::{CatalogueId, ChunkId, PackId, RepoId, SegmentId, SessionId};
use backstop::base::limits::{CHUNK_BYTES, SLICE_BYTES};
use backstop::base::secret::{Secret, SecretKey};
use backstop::crypto::{Keyring, Sealing, SlotSecret, wrap_keyring};
use backstop::format::catalogue::Catalogue;
use backstop::format::commit::{BackupStats, Decision, DiskRecord, DiskSource};
use backstop::format::commit::{PointRecord, Previous};
use backstop::format::config::Config;
use backstop::format::engine::{
    BackupKind, Configuration, ConsistencyRecord, DiskRead, EngineDisk, EngineRecord, LeftOut,
    Sites, StorageDomain,
};
use backstop::format::entry::{EntryHead, EntryKind, SliceCodec, SliceRow};
use backstop::format::journal::{EngineNote, EngineThing};
use backstop::format::key_slot::{KeySlot, SlotKind};
use backstop::format::lists::{Condemned, Damaged, DamagedCopy, Forgotten, Hold};
use backstop::format::mapnode::MapNode;
use backstop::format::pack::{PackHeader, TableRow};
use backstop::format::parity::Parity;
use backstop::format::segment::{IndexEntry, PAGE_BODY_LEN, PAGE_LEN, SegmentFooter};
use backstop::format::segment::{bucket, page_check};
use backstop::format::session::{SessionKind, SessionRecord};
use backstop::format::vm_config::{AttachedDisk, Named, Nic, VmConfig};
use backstop::pack::parity_of;

/// A zstd frame of one RLE block, made by hand: other encoders may make another one.
pub(crate) const LETTERS_FRAME: [u8; 11] =
    [0x28, 0xb5, 0x2f, 0xfd, 0x60, 0xe8, 0x02, 0x43, 0x1f, 0x00, 0x61];

const FANOUT_BITS: u8 = 1;

pub(crate) fn repo() -> RepoId {
    RepoId::from_bytes(std::array::from_fn(|i| i as u8))
}

pub(crate) fn session_id() -> SessionId {
    SessionId::from_bytes(std::array::from_fn(|i| 0xa0 + i as u8))
}

fn previous_id() -> SessionId {
    SessionId::from_bytes(std::array::from_fn(|i| 0x90 + i as u8))
}

fn time() -> UtcTime {
    UtcTime::from_unix_seconds(1_795_397_400).expect("a time of the year 2026")
}

/// The only chunk of `root` that is no hole.
pub(crate) fn hello_chunk() -> Vec<u8> {
    let mut plain = vec![0; SLICE_BYTES];
    plain.extend_from_slice(b"hello");
    plain
}

/// The only chunk of `data`.
pub(crate) fn letters_chunk() -> Vec<u8> {
    vec![b'a'; 1000]
}

pub(crate) fn id_of(plain: &[u8]) -> ChunkId {
    ChunkId::from_bytes(blake3_256(plain))
}

pub(crate) fn root_map() -> MapNode {
    let mut node = MapNode::empty(0);
    node.set_child(1, Some(id_of(&hello_chunk())));
    node
}

pub(crate) fn data_map() -> MapNode {
    let mut node = MapNode::empty(0);
    node.set_child(0, Some(id_of(&letters_chunk())));
    node
}

/// A node above nodes: its first and its last child exist.
pub(crate) fn inner_map() -> MapNode {
    let mut node = MapNode::empty(1);
    node.set_child(0, Some(id_of(&root_map().encode())));
    node.set_child(255, Some(id_of(&data_map().encode())));
    node
}

fn entry(kind: EntryKind, plain: &[u8], stored: &[(SliceCodec, &[u8])]) -> Vec<u8> {
    let hash = IdHasher::default().hash(plain);
    let rows = stored.iter().zip(hash.values()).map(|((codec, bytes), value)| SliceRow {
        codec: *codec,
        stored_len: bytes.len() as u32,
        value: *value,
    });
    let mut out = Vec::new();
    EntryHead::new(kind, hash.id(), plain.len(), rows.collect()).encode_into(&mut out);
    stored.iter().for_each(|(_, bytes)| out.extend_from_slice(bytes));
    out
}

/// The entry of a chunk of two slices, the first of them zero.
pub(crate) fn hello_entry() -> Vec<u8> {
    let slices: [(_, &[u8]); 2] = [(SliceCodec::Zero, &[]), (SliceCodec::Raw, b"hello")];
    entry(EntryKind::Data, &hello_chunk(), &slices)
}

/// The entry of a chunk of one slice, compressed.
pub(crate) fn letters_entry() -> Vec<u8> {
    entry(EntryKind::Data, &letters_chunk(), &[(SliceCodec::Zstd, &LETTERS_FRAME)])
}

/// A chunk of five slices, whose tree has the shape ((0 1) (2 3)) 4.
pub(crate) fn five_slices() -> Vec<u8> {
    (0..SLICE_BYTES * 4 + 1).map(|i| (i / SLICE_BYTES + 1) as u8).collect()
}

/// Whole entries as a pack, in order, with the rows of its table.
fn pack(kind: EntryKind, salt: u8, entries: &[Vec<u8>]) -> (Vec<u8>, Vec<TableRow>) {
    let header = PackHeader { kind, epoch: None, repo: repo(), salt: [salt; 32] };
    let mut bytes = header.encode().to_vec();
    let mut rows = Vec::new();
    for entry in entries {
        let head = EntryHead::decode(entry).expect("a sample entry");
        rows.push(TableRow {
            chunk: head.chunk(),
            offset: bytes.len() as u32,
            entry_len: entry.len() as u32,
            plain_len: head.plain_len() as u32,
            kind,
        });
        bytes.extend_from_slice(entry);
    }
    let trailer = Sealing::plain(repo()).encode_trailer(&header, bytes.len() as u32, &rows);
    bytes.extend_from_slice(&trailer);
    (bytes, rows)
}

pub(crate) fn data_pack() -> (Vec<u8>, Vec<TableRow>) {
    pack(EntryKind::Data, 0x55, &[hello_entry(), letters_entry()])
}

pub(crate) fn map_pack() -> (Vec<u8>, Vec<TableRow>) {
    let nodes = [root_map().encode(), data_map().encode()];
    let entries = nodes.map(|node| entry(EntryKind::MapNode, &node, &[(SliceCodec::Raw, &node)]));
    pack(EntryKind::MapNode, 0x66, &entries)
}

/// The parity of the pack of data.
pub(crate) fn parity() -> Parity {
    let (pack, _) = data_pack();
    parity_of(repo(), pack_id(&pack), &pack).expect("the parity of a small pack")
}

pub(crate) fn pack_id(pack: &[u8]) -> PackId {
    PackId::from_bytes(blake3_256(pack))
}

pub(crate) fn segment_footer() -> SegmentFooter {
    SegmentFooter {
        repo: repo(),
        entry_count: 4,
        pack_count: 2,
        superseded_count: 1,
        fanout_bits: FANOUT_BITS,
        seal: None,
    }
}

pub(crate) fn superseded() -> SegmentId {
    SegmentId::from_bytes([0x77; 32])
}

/// The entries of the segment, in order.
pub(crate) fn index_entries() -> Vec<IndexEntry> {
    let rows = [data_pack().1, map_pack().1];
    let mut entries: Vec<_> = rows.iter().zip(0..).flat_map(|(rows, n)| in_pack(rows, n)).collect();
    entries.sort_by_key(|entry| entry.chunk);
    entries
}

fn in_pack(rows: &[TableRow], pack_number: u32) -> impl Iterator<Item = IndexEntry> {
    rows.iter().map(move |row| IndexEntry {
        chunk: row.chunk,
        pack_number,
        offset: row.offset,
        entry_len: row.entry_len,
        plain_len: row.plain_len,
        kind: row.kind,
    })
}

/// A whole index segment: one page of each section, then the footer page.
pub(crate) fn segment() -> Vec<u8> {
    let entries = index_entries();
    let packs = [data_pack().0, map_pack().0];
    let low = entries.iter().filter(|entry| bucket(entry.chunk, FANOUT_BITS) == 0).count() as u32;
    let fanout = [0, low, entries.len() as u32];
    let bodies = [
        entries.iter().flat_map(IndexEntry::encode).collect(),
        packs.iter().flat_map(|pack| *pack_id(pack).as_bytes()).collect(),
        fanout.iter().flat_map(|first| first.to_le_bytes()).collect(),
        superseded().as_bytes().to_vec(),
        segment_footer().encode().to_vec(),
    ];
    let mut out = Vec::with_capacity(bodies.len() * PAGE_LEN);
    for (number, mut body) in bodies.into_iter().enumerate() {
        body.resize(PAGE_BODY_LEN, 0);
        let check = page_check(number as u64, &body);
        out.extend_from_slice(&body);
        out.extend_from_slice(&check);
    }
    out
}

pub(crate) fn config() -> Config {
    Config::new(repo(), time(), "backstop 0.1.0")
}

/// The configuration of a repository that only a newer release can read.
pub(crate) fn config_newer() -> Config {
    let mut config = config();
    config.required_features.push("holograms".to_owned());
    config
}

pub(crate) fn session() -> SessionRecord {
    SessionRecord {
        kind: SessionKind::Mount,
        vm: Some("web".to_owned()),
        point: Some(session_id()),
        began: time(),
        host: "backup.example".to_owned(),
        pid: 4242,
    }
}

pub(crate) fn committed() -> Decision {
    let root = DiskSource {
        format: "raw".to_owned(),
        path: "/images/root.raw".to_owned(),
        backing_files: Vec::new(),
    };
    let data = DiskSource {
        format: "qcow2".to_owned(),
        path: "/images/data.qcow2".to_owned(),
        backing_files: vec!["/images/base.raw".to_owned()],
    };
    let root_bytes = (CHUNK_BYTES + hello_chunk().len()) as u64;
    let new_bytes = (hello_chunk().len() + letters_chunk().len()) as u64;
    let point = PointRecord {
        id: session_id(),
        repo: repo(),
        vm: "web".to_owned(),
        time: time(),
        sequence: 2,
        previous: Some(Previous {
            point: previous_id(),
            commit_blake3: ChunkId::from_bytes([0x11; 32]),
        }),
        disks: vec![
            disk("root", root_bytes, &root_map(), root),
            disk("data", letters_chunk().len() as u64, &data_map(), data),
        ],
        configuration: None,
        engine: None,
        left_out: Vec::new(),
        stats: BackupStats {
            read_bytes: new_bytes,
            zero_bytes: CHUNK_BYTES as u64,
            duplicate_bytes: 0,
            new_plain_bytes: new_bytes,
            stored_bytes: (data_pack().0.len() + map_pack().0.len()) as u64,
            duration_ms: 1500,
        },
        written_by: "backstop 0.1.0".to_owned(),
    };
    Decision::Committed { point: Box::new(point) }
}

fn disk(name: &str, size_bytes: u64, map: &MapNode, source: DiskSource) -> DiskRecord {
    let map_root = id_of(&map.encode());
    DiskRecord { name: name.to_owned(), size_bytes, map_root, source, engine: None }
}

fn uuid(last: u32) -> String {
    format!("6f5e0000-0000-4000-8000-{last:012x}")
}

/// A restore point of a VM of an engine, which lacks a disk.
/// A catalogue of a session that gave up and one that was fenced.
pub(crate) fn catalogue() -> Vec<u8> {
    let (fenced, aborted) = (Decision::Fenced.encode(), Decision::Aborted.encode());
    let commits: Vec<(_, &[u8])> = vec![(previous_id(), &aborted), (session_id(), &fenced)];
    Catalogue { id: catalogue_id(), repo: repo(), commits }.encode()
}

pub(crate) fn catalogue_id() -> CatalogueId {
    CatalogueId::from_bytes(std::array::from_fn(|i| 0xc0 + i as u8))
}

pub(crate) fn committed_vm() -> Decision {
    let Decision::Committed { point } = committed() else { unreachable!("a restore point") };
    let source =
        DiskSource { format: "engine".to_owned(), path: uuid(2), backing_files: Vec::new() };
    let root_bytes = (CHUNK_BYTES + hello_chunk().len()) as u64;
    let mut root = disk("root", root_bytes, &root_map(), source);
    root.engine = Some(engine_disk());
    let point = PointRecord {
        disks: vec![root],
        configuration: Some(Configuration {
            size_bytes: letters_chunk().len() as u64,
            map_root: id_of(&data_map().encode()),
            redacted: true,
        }),
        engine: Some(engine_record()),
        left_out: vec![LeftOut {
            name: "shared".to_owned(),
            engine_id: uuid(3),
            reason: "disk.shareable is true".to_owned(),
        }],
        ..*point
    };
    Decision::Committed { point: Box::new(point) }
}

fn engine_disk() -> EngineDisk {
    EngineDisk {
        id: uuid(2),
        format: "cow".to_owned(),
        sparse: true,
        interface: "virtio_scsi".to_owned(),
        bootable: true,
        active: true,
        read_only: false,
        pass_discard: false,
        wipe_after_delete: false,
        description: "system disk".to_owned(),
        storage_domain: Some(StorageDomain { id: uuid(9), name: "fast".to_owned() }),
        read: DiskRead::Full,
        full_reason: Some("the size of the disk has changed".to_owned()),
    }
}

fn engine_record() -> EngineRecord {
    EngineRecord {
        url: "https://engine.example.test".to_owned(),
        vm_id: uuid(1),
        backup_id: uuid(4),
        kind: BackupKind::Live,
        checkpoint_id: Some(uuid(6)),
        from_checkpoint_id: Some(uuid(5)),
        consistency: ConsistencyRecord {
            asked: "preferred".to_owned(),
            reached: "filesystem".to_owned(),
        },
        transports: vec!["direct".to_owned()],
        fallbacks: vec!["the host was not reached".to_owned()],
        warnings: vec!["the engine does not hand out the contents of the TPM".to_owned()],
        received_bytes: 140_000,
        sent_bytes: 2_000,
        sites: Some(Sites {
            engine: Some("hall 1".to_owned()),
            repository: Some("hall 2".to_owned()),
        }),
    }
}

pub(crate) fn engine_note() -> EngineNote {
    EngineNote {
        url: "https://engine.example.test".to_owned(),
        vm_id: Some(uuid(1)),
        what: EngineThing::Transfer,
        id: uuid(7),
        disk_id: Some(uuid(2)),
        text: "backup of the VM web".to_owned(),
    }
}

pub(crate) fn condemned() -> Condemned {
    Condemned {
        packs: vec![pack_id(&data_pack().0)],
        points: vec![previous_id()],
        waits_for: Some(vec![session_id()]),
    }
}

pub(crate) fn damaged() -> Damaged {
    let copy = DamagedCopy { pack: pack_id(&data_pack().0), chunk: id_of(&hello_chunk()) };
    Damaged { copies: vec![copy], missing_packs: vec![pack_id(&map_pack().0)] }
}

pub(crate) fn hold() -> Hold {
    Hold { point: session_id(), time: time(), note: "audit 2026".to_owned() }
}

/// The bytes from 40 on: those of a key file, or of a recovery code.
pub(crate) fn slot_key() -> SecretKey {
    SecretKey::new(std::array::from_fn(|i| 0x40 + i as u8))
}

/// What opens each slot of the vectors.
pub(crate) fn slot_secret(kind: SlotKind) -> SlotSecret {
    match kind {
        SlotKind::Password => SlotSecret::Password(Secret::from("correct horse")),
        SlotKind::KeyFile => SlotSecret::KeyFile(slot_key()),
        SlotKind::RecoveryCode => SlotSecret::RecoveryCode(slot_key()),
    }
}

/// A slot of that kind, with the keyring of the vectors.
pub(crate) fn slot_of(kind: SlotKind) -> KeySlot {
    let mut keyring = vec![1, 0, 1, 0];
    keyring.extend(0..64);
    let keyring = Keyring::decode(&keyring).expect("a keyring");
    wrap_keyring(&keyring, &slot_secret(kind), repo(), "operator", time(), &Counting)
        .expect("a key slot")
}

pub(crate) fn key_slot() -> KeySlot {
    slot_of(SlotKind::KeyFile)
}

/// The bytes from b0 on, in the place of chance.
struct Counting;

impl Chance for Counting {
    fn fill(&self, out: &mut [u8]) {
        out.iter_mut().zip(0xb0..).for_each(|(byte, value)| *byte = value);
    }
}

pub(crate) fn forgotten() -> Forgotten {
    Forgotten { point: previous_id(), time: time() }
}

pub(crate) fn vm_config() -> VmConfig {
    let named = |n, name: &str| Some(Named { id: uuid(n), name: name.to_owned() });
    let vm = r#"{"id":"6f5e0000-0000-4000-8000-000000000001","memory":"2147483648","name":"web"}"#;
    let mut config = VmConfig::new(serde_json::from_str(vm).expect("members"));
    config.cluster = named(8, "Default");
    config.nics = vec![Nic {
        id: uuid(9),
        name: "nic1".to_owned(),
        interface: "virtio".to_owned(),
        mac: Some("56:6f:00:00:00:01".to_owned()),
        linked: true,
        plugged: true,
        profile: named(10, "ovirtmgmt"),
        network: named(11, "ovirtmgmt"),
    }];
    config.disks = vec![AttachedDisk {
        id: uuid(2),
        name: "root".to_owned(),
        interface: "virtio_scsi".to_owned(),
        bootable: true,
        active: true,
        read_only: false,
        pass_discard: false,
        shareable: false,
        size_bytes: Some(1_310_720),
        storage_domain: named(3, "nfs1"),
    }];
    config.ovf = Some("<ovf:Envelope xmlns:ovf=\"...\"/>".to_owned());
    config.taken_out = vec!["the script of the first start".to_owned()];
    config.warnings = vec!["the VM has a TPM".to_owned()];
    config
}
