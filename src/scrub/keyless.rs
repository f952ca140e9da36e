//! A scrub of an encrypted repository by somebody who has no keys: the machine that keeps it, say.
//!
//! Every byte of the repository is under some plain hash: packs and index segments under their
//! names, small objects under the checksums of their frames. What that cannot tell is which disks
//! damage reaches, and whether an object is missing that nobody without keys knows of.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rayon::ThreadPoolBuilder;

use crate::base::id::PackId;
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::config::Config;
use crate::format::layout::{Area, ObjectName};
use crate::monitor::Monitor;
use crate::scrub::ScrubLevel;
use crate::scrub::bytes::PackReading;
use crate::scrub::listing::ListedPack;
use crate::scrub::objects::{check_frames, damage};
use crate::scrub::parity::lacking_parity;
use crate::scrub::report::{Finding, Named, Recording, ScrubCounts, ScrubReport};
use crate::scrub::run::{ScrubOptions, WORKERS_MAX};
use crate::store::Store;

/// Checks an encrypted repository at the level `hash`, whatever `options` say of a level. Nothing
/// is written.
///
/// # Errors
///
/// As [`super::scrub`].
pub fn scrub_without_keys(
    store: &dyn Store,
    config: &Config,
    monitor: &dyn Monitor,
    options: &ScrubOptions,
) -> Result<ScrubReport> {
    let began = Instant::now();
    let _read_once = store.read_once();
    let mut findings = Named::default();
    monitor.phase("objects", None);
    let mut counts =
        ScrubCounts { objects: check_frames(store, config, &mut findings)?, ..Default::default() };
    check_segments(store, &mut findings, &mut counts)?;
    let packs = list(store, &mut counts)?;
    monitor.phase("packs", Some(counts.pack_bytes));
    let vanished = check_packs(store, monitor, &packs, options, &mut findings, &mut counts)?;
    let there: HashSet<PackId> =
        packs.iter().map(|pack| pack.id).filter(|pack| !vanished.contains(pack)).collect();
    let lacking = lacking_parity(store, config, &there, ScrubLevel::Hash, &options.cancel)?;
    for (pack, error) in lacking {
        // A pack that a backup has just written may not have any yet.
        if error.kind() != ErrorKind::NotFound {
            findings.push(Finding::object(ObjectName::parity(pack), &error));
        }
    }
    findings.list.sort_unstable();
    Ok(ScrubReport {
        level: ScrubLevel::Hash,
        counts,
        recording: Recording::WithoutKeys,
        findings: findings.list,
        findings_omitted: findings.omitted,
        affected: Vec::new(),
        affected_omitted: 0,
        duration_ms: began.elapsed().as_millis() as u64,
    })
}

/// Compares index segments with their names.
fn check_segments(
    store: &dyn Store,
    findings: &mut Named<Finding>,
    counts: &mut ScrubCounts,
) -> Result<()> {
    for name in store.list(Area::Index)? {
        let Some(id) = name.segment_id() else { continue };
        let problem = match store.map(&name).and_then(|bytes| bytes.hash()) {
            Ok(hash) if hash == *id.as_bytes() => None,
            Ok(_) => {
                let what = "the index segment is not what its name says";
                Some(Error::corrupt(what).at(name.to_string()))
            }
            // A merge has deleted it.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => Some(damage(error)?),
        };
        counts.segments += 1;
        if let Some(error) = problem {
            findings.push(Finding::object(&name, &error));
        }
    }
    Ok(())
}

fn list(store: &dyn Store, counts: &mut ScrubCounts) -> Result<Vec<ListedPack>> {
    let mut listed = Vec::new();
    for name in store.list(Area::Packs)? {
        let Some(id) = name.pack_id() else { continue };
        let len_bytes = match store.len_bytes(&name) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) if error.kind() == ErrorKind::Corrupt => 0,
            len => len?,
        };
        counts.packs += 1;
        counts.pack_bytes += len_bytes;
        listed.push(ListedPack { id, len_bytes });
    }
    listed.sort_unstable_by_key(|pack| pack.id);
    Ok(listed)
}

/// Compares packs with their names, several at once. Those that have vanished meanwhile.
fn check_packs(
    store: &dyn Store,
    monitor: &dyn Monitor,
    packs: &[ListedPack],
    options: &ScrubOptions,
    findings: &mut Named<Finding>,
    counts: &mut ScrubCounts,
) -> Result<HashSet<PackId>> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(options.threads.clamp(1, WORKERS_MAX))
        .thread_name(|n| format!("scrub-{n}"))
        .build()
        .map_err(|error| Error::new(ErrorKind::Io, "cannot start threads").because(error))?;
    let reading = PackReading { store, monitor, cancel: &options.cancel };
    let next = AtomicUsize::new(0);
    let shared = Mutex::new((findings, counts, HashSet::new()));
    let work = |_: rayon::BroadcastContext<'_>| -> Result<()> {
        let mut buffer = Vec::new();
        while let Some(pack) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let read = reading.compare(*pack, &mut buffer);
            let (findings, counts, vanished) = &mut *lock(&shared);
            match read {
                Ok((bytes, was_misread)) => {
                    counts.misread_packs += u64::from(was_misread);
                    if let Some(problem) = bytes.problem() {
                        findings.push(Finding::DamagedPack { pack: pack.id, problem });
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    vanished.insert(pack.id);
                }
                Err(error) => {
                    // Nobody claims another pack.
                    next.store(packs.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(())
    };
    pool.broadcast(work).into_iter().collect::<Result<Vec<()>>>()?;
    let (_, _, vanished) = shared.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(vanished)
}
