//! Small objects that say something about others. What they said is known again, or of no use.

use crate::error::Result;
use crate::format::commit::Decision;
use crate::format::layout::{Area, ObjectName};
use crate::repair::report::Action;
use crate::scrub::Finding;
use crate::store::Store;

/// The objects that a repair moves away once packs and index are healed, each with the reason.
///
/// - Lists of damaged copies: all of them, because no pack that is left is damaged.
/// - Damaged lists of condemned packs: their prune is dead, so nobody deletes these packs before
///   another prune has looked again. As long as such a list is there, backups refuse to run.
/// - Damaged registrations of sessions that are dead.
pub(super) fn obsolete(
    store: &dyn Store,
    findings: &[Finding],
) -> Result<Vec<(ObjectName, String)>> {
    let mut obsolete = Vec::new();
    for name in store.list(Area::Damaged)? {
        obsolete.push((name, "what it names as damaged is healed or gone".to_owned()));
    }
    for area in [Area::Condemned, Area::Sessions] {
        for name in store.list(area)? {
            let Some(problem) = problem_of(findings, &name) else { continue };
            let session = name.session_id().map(ObjectName::session);
            if !session.is_some_and(|session| store.is_held(&session).unwrap_or(true)) {
                obsolete.push((name, problem.to_owned()));
            }
        }
    }
    Ok(obsolete)
}

/// Moves an object away. A session is decided first, so that it can never commit.
pub(super) fn set_aside(store: &dyn Store, name: &ObjectName) -> Result<()> {
    if let (Area::Sessions, Some(session)) = (name.area(), name.session_id()) {
        let _decided = store.create(&ObjectName::commit(session), &Decision::Fenced.encode())?;
    }
    store.set_aside(name)
}

/// The same as an action.
pub(super) fn action((name, problem): &(ObjectName, String)) -> Action {
    Action::SetAside { name: name.to_string(), problem: problem.clone() }
}

/// What a scrub found wrong with an object.
pub(super) fn problem_of<'a>(findings: &'a [Finding], wanted: &ObjectName) -> Option<&'a str> {
    let wanted = wanted.to_string();
    findings.iter().find_map(|finding| match finding {
        Finding::Object { name, problem } if *name == wanted => Some(problem.as_str()),
        _ => None,
    })
}
