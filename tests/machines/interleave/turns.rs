//! Whose turn it is: of several actors one runs at a time, from one call of the store to the next.
//!
//! An actor that comes to a call waits for its turn. When nobody runs any more, a [`Policy`]
//! chooses who goes on, or who dies there as a killed process does: what it held is free, and
//! nothing that it still tries has an effect.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use backstop::error::{Error, ErrorKind, Result};
use backstop::format::layout::{Area, ObjectName};
use backstop::store::Held;

/// Number of an actor.
pub(crate) type Actor = usize;

/// A schedule that takes longer goes round in circles.
const MOMENTS_MAX: usize = 20_000;

/// What a call is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Object(ObjectName),
    Area(Area),
}

/// What an actor is about to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// Reads an object, or asks about it.
    Read(ObjectName),
    List(Area),
    /// Makes, deletes, holds or frees an object.
    Change(&'static str, ObjectName),
    /// Waits until somebody has changed something.
    Sleep,
}

impl Call {
    pub(crate) fn changes(&self) -> bool {
        matches!(self, Self::Change(..))
    }

    /// Where the objects are that it is about.
    pub(crate) fn area(&self) -> Option<Area> {
        match self {
            Self::Read(name) | Self::Change(_, name) => Some(name.area()),
            Self::List(area) => Some(*area),
            Self::Sleep => None,
        }
    }

    /// What two calls must have in common for their order to matter, if one of them changes it.
    pub(crate) fn places(&self) -> Vec<Place> {
        match self {
            Self::Read(name) => vec![Place::Object(name.clone())],
            Self::List(area) => vec![Place::Area(*area)],
            Self::Change(_, name) => vec![Place::Object(name.clone()), Place::Area(name.area())],
            Self::Sleep => Vec::new(),
        }
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(name) => write!(f, "read {}", name.area().directory()),
            Self::List(area) => write!(f, "list {}", area.directory()),
            Self::Change(verb, name) => write!(f, "{verb} {}", name.area().directory()),
            Self::Sleep => write!(f, "sleep"),
        }
    }
}

/// What a policy chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Run(Actor),
    Kill(Actor),
}

/// A moment in which nobody runs.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    /// Who ran last.
    pub(crate) last: Option<Actor>,
    /// Who can go on, with what. Never empty.
    pub(crate) ready: BTreeMap<Actor, Call>,
}

/// Chooses one of those that are ready.
pub(crate) trait Policy: Send {
    fn choose(&mut self, moment: &Moment) -> Choice;
}

/// What happened: every moment, and what was chosen in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record(pub(crate) Vec<(Moment, Choice)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Running,
    Waiting(Call),
    Killed,
    Ended,
}

struct Inner {
    actors: Vec<State>,
    /// Changes that there had been when each actor slept last.
    slept_at: Vec<u64>,
    changes: u64,
    last: Option<Actor>,
    /// Until then, everything goes through.
    has_begun: bool,
    held: BTreeMap<(Actor, u64), Box<dyn Held>>,
    next_held: u64,
    policy: Box<dyn Policy>,
    record: Record,
    is_stuck: bool,
}

/// The turns of one schedule.
pub(crate) struct Turns {
    inner: Mutex<Inner>,
    turned: Vec<Condvar>,
}

impl std::fmt::Debug for Turns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turns")
    }
}

impl Turns {
    pub(crate) fn new(actors: usize, policy: Box<dyn Policy>) -> Self {
        let inner = Inner {
            actors: vec![State::Running; actors],
            slept_at: vec![0; actors],
            changes: 0,
            last: None,
            has_begun: false,
            held: BTreeMap::new(),
            next_held: 0,
            policy,
            record: Record::default(),
            is_stuck: false,
        };
        Self { inner: Mutex::new(inner), turned: (0..actors).map(|_| Condvar::new()).collect() }
    }

    /// From now on everybody waits for a turn.
    pub(crate) fn begin(&self) {
        self.inner().has_begun = true;
    }

    /// Waits for the turn of `actor`, which is about to make `call`. Fails once it is dead.
    pub(crate) fn wait(&self, actor: Actor, call: Call) -> Result<()> {
        let mut inner = self.inner();
        if inner.has_begun && inner.actors[actor] == State::Running {
            inner.actors[actor] = State::Waiting(call);
            self.go_on(&mut inner);
        }
        while matches!(inner.actors[actor], State::Waiting(_)) {
            inner = self.turned[actor].wait(inner).unwrap();
        }
        match inner.actors[actor] {
            State::Running => Ok(()),
            _ => Err(Error::new(ErrorKind::Io, "the process was killed")),
        }
    }

    /// The actor has nothing more to do.
    pub(crate) fn end(&self, actor: Actor) {
        let mut inner = self.inner();
        if inner.actors[actor] != State::Killed {
            inner.actors[actor] = State::Ended;
            self.go_on(&mut inner);
        }
    }

    /// Keeps what an actor holds, to be freed when that is dropped or the actor dies.
    pub(crate) fn keep(
        self: &Arc<Self>,
        actor: Actor,
        name: &ObjectName,
        held: Box<dyn Held>,
    ) -> Box<dyn Held> {
        let mut inner = self.inner();
        let key = (actor, inner.next_held);
        inner.next_held += 1;
        inner.held.insert(key, held);
        Box::new(Kept { turns: Arc::clone(self), key, name: name.clone() })
    }

    /// Whether `actor` was killed.
    pub(crate) fn was_killed(&self, actor: Actor) -> bool {
        self.inner().actors[actor] == State::Killed
    }

    /// What happened, and whether some waited for ever in the end.
    pub(crate) fn finish(&self) -> (Record, bool) {
        let mut inner = self.inner();
        (std::mem::take(&mut inner.record), inner.is_stuck)
    }

    /// Lets the next one go on, if nobody runs.
    fn go_on(&self, inner: &mut Inner) {
        while !inner.actors.contains(&State::Running) {
            let ready = inner.ready();
            if ready.is_empty() || inner.record.0.len() > MOMENTS_MAX {
                for actor in 0..inner.actors.len() {
                    if matches!(inner.actors[actor], State::Waiting(_)) {
                        inner.is_stuck = true;
                        self.kill(inner, actor);
                    }
                }
                return;
            }
            let moment = Moment { last: inner.last, ready };
            let choice = inner.policy.choose(&moment);
            match choice {
                Choice::Kill(actor) => {
                    self.kill(inner, actor);
                    inner.changes += 1;
                }
                Choice::Run(actor) => {
                    let call = &moment.ready[&actor];
                    inner.changes += u64::from(call.changes());
                    if *call == Call::Sleep {
                        inner.slept_at[actor] = inner.changes;
                    }
                    inner.last = Some(actor);
                    inner.actors[actor] = State::Running;
                    self.turned[actor].notify_all();
                }
            }
            inner.record.0.push((moment, choice));
        }
    }

    fn kill(&self, inner: &mut Inner, actor: Actor) {
        inner.actors[actor] = State::Killed;
        inner.held.retain(|(of, _), _| *of != actor);
        self.turned[actor].notify_all();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl Inner {
    fn ready(&self) -> BTreeMap<Actor, Call> {
        let waiting = self.actors.iter().enumerate().filter_map(|(actor, state)| match state {
            State::Waiting(call) => Some((actor, call.clone())),
            _ => None,
        });
        // Whoever sleeps looks again when something has changed since it did last.
        let is_ready = |(actor, call): &(Actor, Call)| {
            *call != Call::Sleep || self.changes > self.slept_at[*actor]
        };
        waiting.filter(is_ready).collect()
    }
}

/// Something held that goes with its actor.
#[derive(Debug)]
struct Kept {
    turns: Arc<Turns>,
    key: (Actor, u64),
    name: ObjectName,
}

impl Held for Kept {}

impl Drop for Kept {
    fn drop(&mut self) {
        // A dead actor's are gone.
        if self.turns.wait(self.key.0, Call::Change("free", self.name.clone())).is_ok() {
            self.turns.inner().held.remove(&self.key);
        }
    }
}
