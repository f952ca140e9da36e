//! One repair from its beginning to its end.
//!
//! | step | what | if the machine stops after it |
//! |---|---|---|
//! | 1 | make missing directories; lock others out; write config and key slots | nothing |
//! | 2 | look at everything, as a scrub does | as 1 |
//! | 3 | bring packs back from their parity, byte for byte | as 2 |
//! | 4 | copy what is good in damaged packs only to new packs, and index those | second copies |
//! | 5 | make the index anew without the damaged packs | packs that the index does not name |
//! | 6 | move the damaged packs to the quarantine | nothing points there |
//! | 7 | store map nodes again of which one copy is left, and lost parity | nothing to undo |
//! | 8 | move damaged catalogues, and lists of no use, to the quarantine | nothing is left to do |
//!
//! New packs are durable before the index names them, and the index names no damaged pack any more
//! before the first of them moves: whoever reads meanwhile finds each chunk by the old index or,
//! once that leads nowhere, by the new one.

use std::collections::HashSet;
use std::time::Instant;

use crate::base::cancel::Cancel;
use crate::base::id::PackId;
use crate::error::{Error, Result};
use crate::format::layout::{Area, ObjectName};
use crate::repair::config::heal_config;
use crate::repair::keys::heal_slots;
use crate::repair::lists::{self, obsolete};
use crate::repair::nodes::{copy_nodes, take_stock};
use crate::repair::parity::{bring_back_packs, write_parity};
use crate::repair::report::{Action, RepairReport};
use crate::repair::salvage::{Examined, Salvage};
use crate::repo::{Alone, Repository, gather_commits, rebuild_index_without};
use crate::scrub::{AffectedDisk, Finding, Named, ScrubLevel, ScrubOptions, Survey, survey};
use crate::store::Store;

/// How to repair.
#[derive(Debug, Clone)]
pub struct RepairOptions {
    /// Whether to act. Otherwise nothing is written.
    pub apply: bool,
    /// Threads that read and check packs.
    pub threads: usize,
    /// Ends the run early. What was done by then stays done.
    pub cancel: Cancel,
}

/// Heals a repository, or says what that would take.
///
/// # Errors
///
/// [`Busy`](crate::error::ErrorKind::Busy) where it is to act and a session that writes is at
/// work; [`Full`](crate::error::ErrorKind::Full) where there is no room for new packs; what a
/// [scrub](crate::scrub::scrub) fails with. It can be run again after each.
pub fn repair(repo: &Repository, options: &RepairOptions) -> Result<RepairReport> {
    let began = Instant::now();
    let mut run = Run { repo, options, actions: Named::default() };
    if !run.make_directories()? {
        // Without them nothing can be looked at.
        return Ok(run.report(Left::default(), began));
    }
    let _alone = if options.apply { Some(Alone::begin(repo)?) } else { None };
    let config = heal_config(&**repo.store(), repo.config(), options.apply)?;
    config.into_iter().for_each(|action| run.actions.push(action));
    let slots = heal_slots(repo, options.apply)?;
    slots.into_iter().for_each(|action| run.actions.push(action));
    let left = run.heal()?;
    Ok(run.report(left, began))
}

struct Run<'a> {
    repo: &'a Repository,
    options: &'a RepairOptions,
    actions: Named<Action>,
}

/// What stays damaged.
#[derive(Default)]
struct Left {
    unhealed: Named<Finding>,
    lost: Named<Finding>,
    affected: Option<Named<AffectedDisk>>,
}

/// What is to be done about packs and index.
#[derive(Default)]
struct Plan {
    replaced: HashSet<PackId>,
    index: Vec<String>,
}

impl Run<'_> {
    fn report(self, left: Left, began: Instant) -> RepairReport {
        RepairReport {
            is_applied: self.options.apply,
            actions: self.actions,
            unhealed: left.unhealed,
            lost: left.lost,
            affected: left.affected,
            duration_ms: began.elapsed().as_millis() as u64,
        }
    }

    /// Step 1 for directories. Whether they are there now.
    fn make_directories(&mut self) -> Result<bool> {
        let store = &**self.repo.store();
        let missing = store.missing_directories()?;
        check_may_be_made(store, &missing)?;
        if self.options.apply && !missing.is_empty() {
            store.make_directories()?;
        }
        let is_there = self.options.apply || missing.is_empty();
        missing.into_iter().for_each(|path| self.actions.push(Action::MakeDirectory { path }));
        Ok(is_there)
    }

    fn scrub_options(&self, level: ScrubLevel) -> ScrubOptions {
        let RepairOptions { threads, cancel, .. } = self.options;
        ScrubOptions { level, threads: *threads, cancel: cancel.clone() }
    }

    /// Steps 2 to 8.
    fn heal(&mut self) -> Result<Left> {
        let options = self.scrub_options(ScrubLevel::Chunks);
        let mut survey = survey(self.repo, &options)?;
        let (apply, cancel) = (self.options.apply, &self.options.cancel);
        let actions = bring_back_packs(self.repo, &mut survey, cancel, apply)?;
        let is_brought_back = !actions.is_empty();
        actions.into_iter().for_each(|action| self.actions.push(action));
        let (mut lost, nodes) = take_stock(&survey)?;
        let obsolete = obsolete(&**self.repo.store(), survey.findings())?;
        let plan = self.save_packs(&survey, &mut lost)?;
        // Nobody can walk over map nodes that are only going to be brought back.
        let shows_all =
            survey.is_index_whole() && survey.unindexed_packs() == 0 && !is_brought_back;
        self.heal_index(plan)?;
        self.copy_nodes(nodes)?;
        let actions = write_parity(self.repo, &survey, cancel, apply)?;
        actions.into_iter().for_each(|action| self.actions.push(action));
        self.heal_catalogues(survey.findings())?;
        self.set_aside(&obsolete)?;
        if self.options.apply {
            return self.what_is_left(lost);
        }
        let affected = if shows_all { Some(survey.affected()?) } else { None };
        Ok(Left { unhealed: self.unhealed(survey.findings()), lost, affected })
    }

    /// Step 7, for as many nodes as need it.
    fn copy_nodes(&mut self, nodes: u64) -> Result<()> {
        let nodes = if self.options.apply { copy_nodes(self.repo)? } else { nodes };
        if nodes > 0 {
            self.actions.push(Action::CopyNodes { nodes });
        }
        Ok(())
    }

    /// Step 8 for catalogues, which are then made anew where there are many commits.
    fn heal_catalogues(&mut self, findings: &[Finding]) -> Result<()> {
        let store = &**self.repo.store();
        let mut reasons = Vec::new();
        for name in store.list(Area::Catalogues)? {
            let Some(problem) = lists::problem_of(findings, &name) else { continue };
            reasons.push(format!("{name}: {problem}"));
            if self.options.apply {
                store.set_aside(&name)?;
            }
        }
        if reasons.is_empty() {
            return Ok(());
        }
        if self.options.apply {
            gather_commits(self.repo)?;
        }
        self.actions.push(Action::RebuildCatalogues { reasons });
        Ok(())
    }

    /// The rest of step 8.
    fn set_aside(&mut self, obsolete: &[(ObjectName, String)]) -> Result<()> {
        for found in obsolete {
            if self.options.apply {
                lists::set_aside(&**self.repo.store(), &found.0)?;
            }
            self.actions.push(lists::action(found));
        }
        Ok(())
    }

    /// Step 4, and what follows from it for the index.
    fn save_packs(&mut self, survey: &Survey<'_>, lost: &mut Named<Finding>) -> Result<Plan> {
        let mut plan = Plan::default();
        for finding in survey.findings() {
            if let Finding::Object { name, problem } = finding
                && name.starts_with(Area::Index.directory())
            {
                plan.index.push(format!("{name}: {problem}"));
            }
        }
        for (packs, what) in [
            (survey.unindexed_packs(), "packs that it does not name"),
            (survey.missing_packs().len() as u64, "packs that it names and that are missing"),
        ] {
            if packs > 0 {
                plan.index.push(format!("{packs} {what}"));
            }
        }
        let damaged = survey.damaged_packs();
        if damaged.is_empty() {
            return Ok(plan);
        }
        self.repo.monitor().phase("damaged packs", None);
        let (apply, cancel) = (self.options.apply, &self.options.cancel);
        let mut salvage = Salvage::new(self.repo, survey, cancel, apply)?;
        let mut is_named = 0;
        for pack in damaged {
            match salvage.pack(pack)? {
                None => {}
                Some(Examined::Sound) => plan.index.push(format!("what it says of pack {pack}")),
                Some(Examined::Damaged { problem, saved, saved_bytes }) => {
                    is_named += u64::from(survey.is_indexed(pack));
                    plan.replaced.insert(pack);
                    self.actions.push(Action::ReplacePack { pack, problem, saved, saved_bytes });
                }
            }
        }
        if is_named > 0 {
            plan.index.push(format!("{is_named} packs that it names are damaged"));
        }
        lost.list.retain(|finding| match finding {
            Finding::DamagedChunk { copy, .. } => !salvage.taken().contains(&copy.chunk),
            _ => true,
        });
        salvage.finish()?;
        Ok(plan)
    }

    /// Steps 5 and 6.
    fn heal_index(&mut self, plan: Plan) -> Result<()> {
        if self.options.apply {
            if !plan.index.is_empty() {
                self.repo.monitor().phase("index", None);
                rebuild_index_without(self.repo, &self.options.cancel, &plan.replaced)?;
            }
            for pack in &plan.replaced {
                self.repo.store().set_aside(&ObjectName::pack(*pack))?;
                self.repo.store().set_aside(&ObjectName::parity(*pack))?;
            }
        }
        if !plan.index.is_empty() {
            self.actions.push(Action::RebuildIndex { reasons: plan.index });
        }
        Ok(())
    }

    /// What is damaged still; of what seemed `lost`, some may have turned up with the new index.
    fn what_is_left(&self, mut lost: Named<Finding>) -> Result<Left> {
        let options = self.scrub_options(ScrubLevel::List);
        let mut now = survey(self.repo, &options)?;
        lost.list.retain(|finding| match finding {
            Finding::DamagedChunk { copy, .. } => {
                now.index().locations(copy.chunk).unwrap_or_default().is_empty()
            }
            _ => true,
        });
        let affected = Some(now.affected()?);
        Ok(Left { unhealed: self.unhealed(now.findings()), lost, affected })
    }

    /// Small objects that stay damaged.
    fn unhealed(&self, findings: &[Finding]) -> Named<Finding> {
        let mut unhealed = Named::default();
        for finding in findings {
            if let Finding::Object { name, .. } = finding
                && !self.is_about(name)
            {
                unhealed.push(finding.clone());
            }
        }
        unhealed
    }

    /// Whether an action heals the object.
    fn is_about(&self, object: &str) -> bool {
        self.actions.list.iter().any(|action| match action {
            Action::WriteConfig { name, .. }
            | Action::WriteKeySlot { name, .. }
            | Action::SetAside { name, .. } => name == object,
            Action::WriteParity { pack, .. } | Action::ReplacePack { pack, .. } => {
                object == ObjectName::parity(*pack).to_string()
            }
            Action::RebuildIndex { .. } => object.starts_with(Area::Index.directory()),
            Action::RebuildCatalogues { .. } => object.starts_with(Area::Catalogues.directory()),
            _ => false,
        })
    }
}

/// A repository without empty directories is one that was copied so. One that lacks its packs or
/// its commits is rather one of which a part is not mounted, and must not look like an empty one.
fn check_may_be_made(store: &dyn Store, missing: &[String]) -> Result<()> {
    for (area, proof) in
        [(Area::Packs, Area::Commits), (Area::Packs, Area::Index), (Area::Commits, Area::Packs)]
    {
        let is_missing = |area: Area| missing.iter().any(|path| path == area.directory());
        if is_missing(area) && !is_missing(proof) && !store.list(proof)?.is_empty() {
            let what = "a directory that cannot have been empty is missing (mount what belongs \
                        there, or bring it back)";
            return Err(Error::corrupt(what).at(area.directory()));
        }
    }
    Ok(())
}
