//! Names the entries that damaged packs have lost.

use crate::base::id::PackId;
use crate::format::lists::DamagedCopy;
use crate::scrub::health::{Health, PackDamage, Verdict};
use crate::scrub::listing::Contents;
use crate::scrub::record::Recorder;
use crate::scrub::report::{Finding, Named};

/// Makes packs that are missing, and every entry that cannot be read in one that is not whole, a
/// finding, and writes them down.
pub(super) fn name_damage(
    contents: &Contents,
    health: &Health,
    findings: &mut Named<Finding>,
    recorder: &mut Recorder<'_>,
) {
    let mut packs: Vec<&PackId> = health.damaged.keys().collect();
    packs.sort_unstable();
    for pack in packs {
        if health.damaged.get(pack) == Some(&PackDamage::Missing) {
            let entries = contents.packs.get(pack).map_or(0, |indexed| indexed.entries);
            findings.push(Finding::MissingPack { pack: *pack, entries });
        }
        if health.is_lost(*pack) {
            recorder.pack(*pack);
        }
    }
    if !health.damaged.is_empty() {
        name_entries(contents, health, findings, recorder);
    }
}

/// Goes through the index: a pack that has lost its table cannot say what else it has lost.
fn name_entries(
    contents: &Contents,
    health: &Health,
    findings: &mut Named<Finding>,
    recorder: &mut Recorder<'_>,
) {
    // Damaged pages are findings already.
    for (chunk, location) in contents.index.entries().filter_map(Result::ok) {
        let pack = location.pack;
        let is_named = match health.damaged.get(&pack) {
            None | Some(PackDamage::Missing) => false,
            Some(_) => health.of(chunk, &location) != Verdict::Good,
        };
        if !is_named {
            continue;
        }
        let copies = contents.index.locations(chunk).unwrap_or_default();
        let good_copies =
            copies.iter().filter(|copy| health.of(chunk, copy) == Verdict::Good).count();
        let copy = DamagedCopy { pack, chunk };
        findings.push(Finding::DamagedChunk {
            copy,
            kind: location.kind,
            offset_bytes: location.offset,
            plain_len: location.plain_len,
            good_copies,
        });
        if !health.is_lost(pack) {
            recorder.copy(copy);
        }
    }
}
