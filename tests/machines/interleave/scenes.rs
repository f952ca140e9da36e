//! Who works beside whom, and which step is missing where.

use backstop::format::layout::Area;

use super::explore::Bounds;
use super::lies::Lie;
use super::scene::Deed::{
    BackUp, EndEarlier, Forget, Inherit, Prune, Read, RebuildIndex, Restore, Undo,
};
use super::scene::{Deed, Scene};

const PRUNE: Deed = Prune { waits: true };
/// One that leaves the rest to the next one instead of waiting.
const BRIEF_PRUNE: Deed = Prune { waits: false };

/// A backup stores chunks that only a dropped restore point has.
const DEAD_PACK: Scene = Scene {
    points: &[("old", &[1, 2]), ("keep", &[3])],
    apart: 0,
    dropped: &[0],
    deeds: &[BackUp("new", &[1, 4]), PRUNE],
    lies: &[],
};

/// The first backup ever comes while a prune looks.
const FIRST_BACKUP: Scene = Scene { points: &[], dropped: &[], ..DEAD_PACK };

/// Half of a pack is needed, and the other half is stored anew.
const SPARSE_PACK: Scene = Scene {
    points: &[("old", &[1, 2]), ("keep", &[1])],
    deeds: &[BackUp("new", &[2]), PRUNE],
    ..DEAD_PACK
};

/// Two packs have the same chunk. Which of them is to go depends on one that is being dropped.
const TWO_COPIES: Scene = Scene {
    points: &[("old", &[1, 5]), ("keep", &[1, 2])],
    apart: 2,
    dropped: &[],
    deeds: &[PRUNE, Forget(0), PRUNE],
    lies: &[],
};

/// Two prunes with something to do each, and a backup that needs what one of them takes.
const TWO_PRUNES: Scene = Scene {
    points: &[("old", &[1, 2]), ("other", &[5]), ("keep", &[3])],
    deeds: &[PRUNE, Forget(1), PRUNE, BackUp("new", &[1, 4])],
    ..DEAD_PACK
};

/// A prune does not wait for a backup, another one finishes its work, and a third session comes in
/// between.
const LEFT_OVER: Scene =
    Scene { deeds: &[BRIEF_PRUNE, BackUp("new", &[1, 4]), EndEarlier, BRIEF_PRUNE], ..DEAD_PACK };

/// Every command that there is a deed for.
const ALL_AT_ONCE: Scene = Scene {
    points: &[("old", &[1, 2]), ("gone", &[2, 6]), ("keep", &[1, 3])],
    apart: 0,
    dropped: &[1],
    deeds: &[
        BackUp("new", &[2, 4]),
        Inherit("old", &[1, 2]),
        Read(0),
        Restore("keep", 2),
        Forget(0),
        Undo(1),
        RebuildIndex,
        PRUNE,
        BRIEF_PRUNE,
    ],
    lies: &[],
};

/// A scene in which nothing may be lost, and how far the search goes.
pub(crate) struct Whole {
    pub(crate) name: &'static str,
    pub(crate) scene: Scene,
    pub(crate) bounds: Bounds,
}

const fn whole(name: &'static str, scene: Scene, interruptions: usize, kills: usize) -> Whole {
    Whole { name, scene, bounds: Bounds { interruptions, kills, areas: &[] } }
}

/// Nothing is lost in any of them, whatever the order.
pub(crate) const WHOLE: &[Whole] = &[
    whole("backup, prune", DEAD_PACK, 2, 0),
    whole("first backup, prune", FIRST_BACKUP, 2, 0),
    whole("backup, prune, killed", DEAD_PACK, 1, 1),
    whole("backup, prune of a sparse pack", SPARSE_PACK, 1, 1),
    whole(
        "prune that does not wait",
        Scene { deeds: &[BackUp("new", &[1, 4]), BRIEF_PRUNE], ..DEAD_PACK },
        1,
        1,
    ),
    whole("undo, prune", Scene { deeds: &[Undo(0), PRUNE], ..DEAD_PACK }, 2, 0),
    whole("undo, prune, killed", Scene { deeds: &[Undo(0), PRUNE], ..DEAD_PACK }, 1, 1),
    whole(
        "mount, forget, prune",
        Scene { dropped: &[], deeds: &[Read(0), Forget(0), PRUNE], ..DEAD_PACK },
        2,
        0,
    ),
    whole(
        "restore, backup of the VM, forget, prune",
        Scene {
            dropped: &[],
            deeds: &[Restore("old", 0), BackUp("old", &[1, 4]), Forget(0), PRUNE],
            ..DEAD_PACK
        },
        1,
        1,
    ),
    whole("mount, prune of a sparse pack", Scene { deeds: &[Read(1), PRUNE], ..SPARSE_PACK }, 2, 0),
    whole(
        "incremental backup, forget, prune",
        Scene { dropped: &[], deeds: &[Inherit("old", &[1, 2]), Forget(0), PRUNE], ..DEAD_PACK },
        1,
        1,
    ),
    whole(
        "two backups, prune",
        Scene { deeds: &[BackUp("new", &[1, 4]), BackUp("two", &[2, 4]), PRUNE], ..DEAD_PACK },
        1,
        0,
    ),
    whole("rebuild-index, prune", Scene { deeds: &[RebuildIndex, PRUNE], ..DEAD_PACK }, 2, 0),
    whole(
        "rebuild-index, backup, prune",
        Scene { deeds: &[RebuildIndex, BackUp("new", &[1, 4]), PRUNE], ..SPARSE_PACK },
        1,
        0,
    ),
    whole(
        "backup that merges the index, prune",
        Scene {
            points: &[
                ("old", &[1, 2]),
                ("b", &[3]),
                ("c", &[4]),
                ("d", &[5]),
                ("e", &[6]),
                ("f", &[7]),
                ("g", &[8]),
            ],
            deeds: &[BackUp("new", &[1, 9]), PRUNE],
            ..DEAD_PACK
        },
        1,
        0,
    ),
    whole("two prunes, forget, backup", TWO_PRUNES, 1, 0),
    whole("work left over", LEFT_OVER, 1, 0),
    whole("all at once", ALL_AT_ONCE, 1, 1),
    // Without locks, nothing is lost that was there or was told. That all goes on is not promised.
    whole("two prunes without locks", Scene { lies: &[Lie::FreeLocks], ..TWO_PRUNES }, 1, 0),
    whole("two copies without locks", Scene { lies: &[Lie::FreeLocks], ..TWO_COPIES }, 2, 0),
    Whole {
        name: "two copies without locks, at lists",
        scene: Scene { lies: &[Lie::FreeLocks], ..TWO_COPIES },
        bounds: AT_LISTS,
    },
    whole(
        "a session that is taken for dead",
        Scene { lies: &[Lie::DeadSessions], ..DEAD_PACK },
        2,
        0,
    ),
];

/// A scene in which something is lost, within these bounds.
pub(crate) struct Unsafe {
    pub(crate) scene: Scene,
    pub(crate) bounds: Bounds,
}

const fn lossy(scene: Scene, interruptions: usize) -> Unsafe {
    Unsafe { scene, bounds: Bounds { interruptions, kills: 0, areas: &[] } }
}

/// Three interruptions at any place would take too long.
const AT_LISTS: Bounds =
    Bounds { interruptions: 3, kills: 0, areas: &[Area::Condemned, Area::Index] };

/// Without the step, something is lost.
pub(crate) const UNSAFE: &[Unsafe] = &[
    lossy(Scene { lies: &[Lie::NoWait], ..DEAD_PACK }, 1),
    lossy(Scene { lies: &[Lie::NoSecondMark], ..DEAD_PACK }, 1),
    lossy(Scene { lies: &[Lie::LateRegistration], ..DEAD_PACK }, 1),
    lossy(Scene { lies: &[Lie::DeadSessions, Lie::LateCommits], ..DEAD_PACK }, 1),
    lossy(Scene { lies: &[Lie::IndexBeforeLists], ..DEAD_PACK }, 2),
    lossy(Scene { lies: &[Lie::FreeLocks, Lie::OneList], ..TWO_PRUNES }, 1),
    lossy(Scene { lies: &[Lie::ReplacedLists], ..LEFT_OVER }, 2),
    lossy(Scene { lies: &[Lie::FreeLocks, Lie::NoSecondLists], ..TWO_COPIES }, 2),
    Unsafe {
        scene: Scene { lies: &[Lie::FreeLocks, Lie::PacksBeforeLists], ..TWO_COPIES },
        bounds: AT_LISTS,
    },
];
