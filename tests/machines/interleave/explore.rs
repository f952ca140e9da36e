//! Which schedules are tried.

use std::collections::BTreeMap;
use std::sync::Arc;

use backstop::format::layout::Area;
use backstop::store::testing::SeededChance;

use super::turns::{Actor, Call, Choice, Moment, Place, Policy, Record};

/// How far the schedules of a search go from those in which one actor ends before another begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How often an actor is interrupted that could go on.
    pub(crate) interruptions: usize,
    /// How many actors are killed.
    pub(crate) kills: usize,
    /// Interruptions come only before calls that are about one of these, if any is said.
    pub(crate) areas: &'static [Area],
}

impl Bounds {
    fn has_place(&self, call: &Call) -> bool {
        self.areas.is_empty() || call.area().is_some_and(|area| self.areas.contains(&area))
    }
}

/// Goes on as a list says, then lets everybody run to the end.
pub(crate) struct Replay {
    choices: std::vec::IntoIter<Choice>,
}

impl Replay {
    pub(crate) fn new(choices: Vec<Choice>) -> Self {
        Self { choices: choices.into_iter() }
    }
}

impl Policy for Replay {
    fn choose(&mut self, moment: &Moment) -> Choice {
        let is_possible = |choice: &Choice| match choice {
            Choice::Run(actor) | Choice::Kill(actor) => moment.ready.contains_key(actor),
        };
        self.choices.next().filter(is_possible).unwrap_or_else(|| going_on(moment))
    }
}

/// Whoever ran last, if it can go on.
fn going_on(moment: &Moment) -> Choice {
    let last = moment.last.filter(|last| moment.ready.contains_key(last));
    Choice::Run(last.unwrap_or_else(|| *moment.ready.keys().next().expect("somebody is ready")))
}

/// Whether a choice interrupts an actor that could go on.
fn interrupts(moment: &Moment, choice: Choice) -> bool {
    let goes_on = moment.last.is_some_and(|last| moment.ready.contains_key(&last));
    goes_on && matches!(choice, Choice::Run(actor) if Some(actor) != moment.last)
}

/// What each actor was seen to touch, and whether it changed it.
#[derive(Debug, Default)]
pub(crate) struct Touched(BTreeMap<Place, BTreeMap<Actor, bool>>);

impl Touched {
    /// Takes down what happened; whether that was news.
    pub(crate) fn learn(&mut self, record: &Record) -> bool {
        let mut is_news = false;
        for (moment, choice) in &record.0 {
            let Choice::Run(actor) = choice else { continue };
            let call = &moment.ready[actor];
            for place in call.places() {
                let of_place = self.0.entry(place).or_default();
                let before = of_place.get(actor).copied();
                let now = before == Some(true) || call.changes();
                of_place.insert(*actor, now);
                is_news |= before != Some(now);
            }
        }
        is_news
    }

    /// Whether the order of this call and those of others matters.
    fn matters(&self, actor: Actor, call: &Call) -> bool {
        call.places().iter().filter_map(|place| self.0.get(place)).any(|of_place| {
            let mut others = of_place.iter().filter(|(other, _)| **other != actor);
            others.any(|(_, changes)| *changes || call.changes())
        })
    }
}

/// All schedules within bounds, in a random order. An actor is interrupted only before a call whose
/// order matters: elsewhere it comes to the same as before its next such call. It is killed only
/// before a call that changes something.
pub(crate) struct Search {
    bounds: Bounds,
    todo: Vec<Branch>,
    dice: SeededChance,
}

/// The beginning of a schedule: that of another one, and what comes then.
struct Branch {
    of: Arc<Vec<Choice>>,
    at: usize,
    then: Option<Choice>,
}

impl Search {
    pub(crate) fn new(bounds: Bounds, seed: u64) -> Self {
        let first = Branch { of: Arc::default(), at: 0, then: None };
        Self { bounds, todo: vec![first], dice: SeededChance::new(seed) }
    }

    /// How the next schedule begins.
    pub(crate) fn next(&mut self) -> Option<Vec<Choice>> {
        let count = self.todo.len();
        let Branch { of, at, then } =
            (count > 0).then(|| self.todo.swap_remove(self.dice.below(count)))?;
        Some(of[..at].iter().copied().chain(then).collect())
    }

    /// Takes down where a schedule could have gone on otherwise, after its first `begin` choices.
    pub(crate) fn branch(&mut self, begin: usize, record: &Record, touched: &Touched) {
        let choices: Arc<Vec<_>> = Arc::new(record.0.iter().map(|(_, choice)| *choice).collect());
        let mut left = self.bounds;
        for (at, (moment, choice)) in record.0.iter().enumerate() {
            if at >= begin {
                let others = alternatives(moment, *choice, left, touched);
                let branch = |other| Branch { of: Arc::clone(&choices), at, then: Some(other) };
                self.todo.extend(others.into_iter().map(branch));
            }
            let is_kill = matches!(choice, Choice::Kill(_));
            left.interruptions =
                left.interruptions.saturating_sub(interrupts(moment, *choice).into());
            left.kills = left.kills.saturating_sub(is_kill.into());
        }
    }
}

/// What else could have been chosen.
fn alternatives(moment: &Moment, chosen: Choice, left: Bounds, touched: &Touched) -> Vec<Choice> {
    let mut others = Vec::new();
    for (&actor, call) in &moment.ready {
        let run = Choice::Run(actor);
        let may_run = !interrupts(moment, run)
            || left.interruptions > 0
                && moment.last.is_some_and(|last| {
                    let call = &moment.ready[&last];
                    left.has_place(call) && touched.matters(last, call)
                });
        if run != chosen && may_run {
            others.push(run);
        }
        let runs_on = moment.last == Some(actor);
        if left.kills > 0 && call.changes() && runs_on {
            others.push(Choice::Kill(actor));
        }
    }
    others
}

/// Ranks at the beginning are no lower.
const RANK_MIN: u64 = 1 << 32;

/// Chance: every actor has a rank, the first that is ready goes on, and at a few moments the one
/// that runs falls behind all others. Any fault that takes so many interruptions at certain places
/// is found with a known probability, whatever else happens.
pub(crate) struct Dice {
    dice: SeededChance,
    ranks: Vec<u64>,
    /// Moments at which the first falls behind.
    falls: Vec<usize>,
    /// The moment at which one is killed.
    kill: Option<usize>,
    now: usize,
}

impl Dice {
    /// `length` is about how many moments a schedule has.
    pub(crate) fn new(seed: u64, actors: usize, length: usize) -> Self {
        let dice = SeededChance::new(seed);
        let ranks = (0..actors).map(|_| RANK_MIN + dice.next() % RANK_MIN).collect();
        let falls = (0..=dice.below(5)).map(|_| dice.below(length)).collect();
        let kill = (dice.below(3) == 0).then(|| dice.below(length));
        Self { dice, ranks, falls, kill, now: 0 }
    }

    fn first(&self, moment: &Moment) -> Actor {
        let first = moment.ready.keys().max_by_key(|actor| self.ranks[**actor]);
        *first.expect("somebody is ready")
    }
}

impl Policy for Dice {
    fn choose(&mut self, moment: &Moment) -> Choice {
        self.now += 1;
        if self.kill == Some(self.now) {
            let ready: Vec<_> = moment.ready.keys().copied().collect();
            return Choice::Kill(ready[self.dice.below(ready.len())]);
        }
        if self.falls.contains(&self.now) {
            let first = self.first(moment);
            self.ranks[first] = RANK_MIN - self.now as u64;
        }
        Choice::Run(self.first(moment))
    }
}
