//! Room on the medium: what backups leave free, and the ballast that is given up when nothing is.
//!
//! A medium that is wholly full cannot even be pruned, because a prune writes before it deletes. So
//! backups stop while a reserve is free; and since others may fill the rest, a file without
//! contents of use, the ballast, occupies some space that can be given up.

use crate::error::{Error, ErrorKind, Result};
use crate::format::layout::Area;
use crate::repo::Repository;
use crate::store::{Space, Store};

const MIB: u64 = 1 << 20;
/// The least and the most that backups leave free, and the ballast without that of the index.
const RESERVE_MIN: u64 = 16 * MIB;
const RESERVE_MAX: u64 = 1024 * MIB;
const BALLAST_MIN: u64 = 16 * MIB;

/// What backups leave free of a medium of that length, in bytes: a hundredth, and of a small one no
/// more than an eighth.
#[must_use]
pub fn reserve_bytes(total_bytes: u64) -> u64 {
    (total_bytes / 100).clamp(RESERVE_MIN, RESERVE_MAX).min(total_bytes / 8)
}

/// How long the ballast should be. A prune writes the index anew before it deletes the old one; of
/// a small medium it takes no more than a 32nd.
fn ballast_bytes(total_bytes: u64, index_bytes: u64) -> u64 {
    BALLAST_MIN.saturating_add(index_bytes).min(total_bytes / 32)
}

/// Fails with [`ErrorKind::Full`] unless `bytes` can be written and the reserve stays free. A
/// medium that has no such thing as space is never full.
pub(super) fn check_room(store: &dyn Store, bytes: u64) -> Result<()> {
    let Some(Space { free_bytes, total_bytes }) = store.space()? else { return Ok(()) };
    let reserve = reserve_bytes(total_bytes);
    let Some(missing) = bytes.saturating_add(reserve).checked_sub(free_bytes).filter(|m| *m > 0)
    else {
        return Ok(());
    };
    let what = format!(
        "backups leave the last {} of the medium free, so that it can be pruned; {} are missing",
        mib(reserve),
        mib(missing)
    );
    Err(Error::new(ErrorKind::Full, what))
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(MIB))
}

/// Occupies the ballast again, or for the first time, where that leaves the reserve and another one
/// free. That there is no room for it is no failure.
pub(super) fn stow_ballast(repo: &Repository) -> Result<()> {
    let store = &**repo.store();
    let Some(Space { free_bytes, total_bytes }) = store.space()? else { return Ok(()) };
    let mut index_bytes = 0;
    for segment in store.list(Area::Index)? {
        // One that was merged meanwhile is not there any more.
        index_bytes += store.len_bytes(&segment).unwrap_or_default();
    }
    let wanted = ballast_bytes(total_bytes, index_bytes);
    let keep_free = 2 * reserve_bytes(total_bytes);
    if free_bytes < wanted.saturating_add(keep_free) {
        return Ok(());
    }
    store.stow_ballast(wanted)
}

/// While this lives, the ballast is given up if the medium is nearly full. For whoever makes room,
/// and for the small objects of people who decide what is to be dropped.
pub struct LentBallast<'a> {
    repo: &'a Repository,
}

impl<'a> LentBallast<'a> {
    /// Gives the ballast up where less than the reserve is free.
    pub fn begin(repo: &'a Repository) -> Result<Self> {
        let store = repo.store();
        if let Some(Space { free_bytes, total_bytes }) = store.space()?
            && free_bytes < reserve_bytes(total_bytes)
        {
            store.release_ballast()?;
        }
        Ok(Self { repo })
    }
}

impl Drop for LentBallast<'_> {
    fn drop(&mut self) {
        if let Err(problem) = stow_ballast(self.repo) {
            self.repo.monitor().problem(&problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserve_and_ballast_follow_the_medium_and_leave_a_small_one_usable() {
        let gib = 1024 * MIB;
        for (total, reserve, ballast) in [
            (64 * MIB, 8 * MIB, 2 * MIB),
            (10 * gib, 10 * gib / 100, 16 * MIB),
            (1024 * gib, gib, 16 * MIB),
        ] {
            assert_eq!((reserve_bytes(total), ballast_bytes(total, 0)), (reserve, ballast));
        }
        assert_eq!(ballast_bytes(1024 * gib, 600 * MIB), 616 * MIB);
    }
}
