//! How much a prune gives back, and that it says so before.

use std::sync::Arc;

use backstop::format::layout::Area;
use backstop::prune::forget::forget;
use backstop::prune::{PruneOptions, PruneReport, prune};
use backstop::repo::Repository;
use backstop::store::testing::{CountingStore, MemoryStore};
use proptest::prelude::*;

use crate::support::{MIB, back_up_bytes, environment, new_repo, noise, read_back};
use crate::{names, options, pack_bytes};

/// What a prune may write beside what it announces: registrations, lists and fenced sessions.
const SMALL_BYTES: u64 = 16 << 10;

/// A disk after so many backups: each changes a run of chunks.
fn disk_after(backups: usize) -> Vec<u8> {
    let mut disk = noise(24 * MIB, 1);
    for number in 1..backups {
        let start = number * 5 % 20 * MIB;
        let changed = noise((1 + number % 4) * MIB, 100 + number as u64);
        disk[start..start + changed.len()].copy_from_slice(&changed);
    }
    disk
}

/// Twenty restore points, of which every fourth stays.
fn forgotten() -> (Repository, Vec<Vec<u8>>) {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    let mut kept = Vec::new();
    for number in 1..=20 {
        let point = back_up_bytes(&repo, "vm", &disk_after(number)).unwrap();
        match number % 4 {
            0 => kept.push(disk_after(number)),
            _ => forget(&repo, point.id).unwrap(),
        }
    }
    (repo, kept)
}

/// Length of the packs of a repository that never held anything else.
fn model_bytes(disks: &[Vec<u8>]) -> u64 {
    let repo = new_repo(Arc::new(MemoryStore::new()));
    disks.iter().for_each(|disk| drop(back_up_bytes(&repo, "vm", disk).unwrap()));
    pack_bytes(&repo)
}

#[track_caller]
fn assert_within_two_percent(bytes: u64, model: u64) {
    let off = bytes.abs_diff(model) as f64 / model as f64;
    assert!(off < 0.02, "{bytes} bytes, and the model has {model}");
}

#[test]
fn a_pruned_repository_is_as_large_as_one_that_never_held_what_was_dropped() {
    let (repo, kept) = forgotten();
    let model = model_bytes(&kept);
    assert!(pack_bytes(&repo) > model + model / 10, "there is something to give back");
    // With the usual threshold something stays that is not needed, and the report says how much.
    let report = prune(&repo, &options()).unwrap();
    assert_within_two_percent(pack_bytes(&repo) - report.unneeded_bytes, model);
    prune(&repo, &PruneOptions { live_percent: 100, ..options() }).unwrap();
    assert_within_two_percent(pack_bytes(&repo), model);
    for (point, disk) in repo.points().unwrap().iter().zip(&kept) {
        assert!(read_back(&repo, &point.disks[0], false).unwrap() == *disk);
    }
}

/// Which of the chunks of a small disk a backup changes, and whether it is dropped.
type Step = (Vec<u8>, bool);

fn history() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((prop::collection::vec(0u8..12, 0..5), any::<bool>()), 1..8)
}

/// What a dry run says of these must be what happens.
fn announced(report: &PruneReport) -> [u64; 9] {
    [
        report.points,
        report.dropped_points,
        report.packs,
        report.pack_bytes,
        report.dead_packs,
        report.compacted_packs,
        report.deleted_packs,
        report.deleted_bytes,
        report.unneeded_bytes,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_prune_does_what_its_dry_run_says_and_has_nothing_left_to_do(
        history in history(),
        live_percent in prop_oneof![Just(0u8), Just(50), Just(100), 0u8..=100],
        has_parity in any::<bool>(),
    ) {
        let store = CountingStore::new(MemoryStore::new());
        let shared = Arc::new(store.clone());
        let repo = match has_parity {
            false => crate::support::create_repo(shared, environment(1)),
            true => crate::support::create_repo_with_parity(shared, environment(1)),
        }
        .unwrap();
        // Short last chunks: what is added to entries counts for more.
        let mut disk = vec![7; 11 * MIB + 900];
        for (number, (chunks, is_dropped)) in history.iter().enumerate() {
            for chunk in chunks {
                let start = usize::from(*chunk) * MIB;
                let seed = 1 + u64::from(*chunk) + 100 * number as u64;
                let end = disk.len().min(start + 20_000 * (1 + usize::from(*chunk)));
                disk[start..end].copy_from_slice(&noise(end - start, seed));
            }
            let point = back_up_bytes(&repo, "vm", &disk).unwrap();
            if *is_dropped {
                forget(&repo, point.id).unwrap();
            }
        }
        let options = PruneOptions { live_percent, ..options() };
        let planned = prune(&repo, &PruneOptions { dry_run: true, ..options.clone() }).unwrap();
        let before = pack_bytes(&repo);
        store.reset();
        let report = prune(&repo, &options).unwrap();
        prop_assert_eq!(announced(&report), announced(&planned));
        prop_assert!(report.rewritten_bytes <= planned.rewritten_bytes);
        prop_assert!(planned.rewritten_bytes <= 2 * report.rewritten_bytes + SMALL_BYTES);
        let counts = store.counts();
        let written = |areas: &[Area]| -> u64 {
            areas.iter().map(|area| counts.of(*area).published_bytes).sum()
        };
        prop_assert_eq!(written(&[Area::Packs, Area::Parity]), report.rewritten_bytes);
        prop_assert!(written(&[Area::Index]) <= planned.index_bytes);
        let said = planned.rewritten_bytes + planned.index_bytes;
        prop_assert!(written(&Area::ALL) <= said + SMALL_BYTES);
        let rewritten_packs = written(&[Area::Packs]);
        prop_assert_eq!(pack_bytes(&repo), before - report.deleted_bytes + rewritten_packs);
        prop_assert!(names(&repo, Area::Condemned).is_empty());
        let again = prune(&repo, &options).unwrap();
        prop_assert_eq!((again.dropped_points, again.points), (0, report.points));
        prop_assert_eq!((again.deleted_packs, again.rewritten_bytes), (0, 0));
    }
}
