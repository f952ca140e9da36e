//! A backup to a medium that has no room left.

#[path = "support/repo.rs"]
mod support;

use std::sync::Arc;

use backstop::error::ErrorKind;
use backstop::format::layout::Area;
use backstop::store::Store;
use backstop::store::testing::{DamagingStore, Fault, MemoryStore};

use support::{MIB, back_up_bytes, new_repo, noise};

#[test]
fn a_backup_that_found_no_room_says_so_and_its_packs_are_found_by_the_next_one() {
    let disk = noise(72 * MIB, 1);
    // The first of these fails while the workers store, the second when they are done; in front of
    // both come the registration and, before the second, two packs.
    for (nth, kept) in [(3, 31 * MIB as u64), (4, 62 * MIB as u64)] {
        let store = Arc::new(DamagingStore::new(MemoryStore::new()));
        let repo = new_repo(Arc::<DamagingStore<_>>::clone(&store));
        store.fail_publish(nth, Fault::Full);
        let error = back_up_bytes(&repo, "vm", &disk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{}", error.chain());
        assert!(error.chain().contains("No space left"), "{}", error.chain());
        assert!(store.list(Area::Sessions).unwrap().is_empty(), "a registration is left");
        assert!(repo.points().unwrap().is_empty());
        let point = back_up_bytes(&repo, "vm", &disk).unwrap();
        assert_eq!(point.stats.duplicate_bytes, kept, "publish {nth}");
    }
}
