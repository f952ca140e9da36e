//! What the engine has noted about a backup. Phases tell that something failed; events tell why.

use crate::ovirt::client::{ApiPath, Engine};
use crate::ovirt::wire::{Event, EventList};

/// The checkpoints of the VM could not be brought back: only a full backup is possible.
const FULL_NEEDED: u64 = 10791;
/// A backup has begun, has succeeded, was finalized: no reasons for anything.
const GOOD: [u64; 3] = [10790, 10793, 10794];
/// Events that are read and told of.
const EVENTS_MAX: &str = "20";

/// What the engine has noted.
#[derive(Debug, Clone, Default)]
pub struct Noted {
    /// Texts, the newest first.
    pub texts: Vec<String>,
    /// Whether only a full backup is possible.
    pub is_full_needed: bool,
}

impl Noted {
    /// All texts on one line, or that there are none.
    #[must_use]
    pub fn told(&self) -> String {
        match self.texts.is_empty() {
            true => "the engine has noted no reason".to_owned(),
            false => self.texts.join("; "),
        }
    }
}

/// What the engine has noted about the object of that id. That it cannot be asked is no failure of
/// its own: whoever asks has one already.
#[must_use]
pub fn about(engine: &Engine, id: &str) -> Noted {
    let path = ApiPath::new(&["events"]).with("search", id).with("max", EVENTS_MAX);
    let list: EventList = match engine.get(&path) {
        Ok(list) => list,
        Err(error) => {
            log::debug!("cannot read events: {}", error.chain());
            return Noted::default();
        }
    };
    let about: Vec<Event> =
        list.event.into_iter().filter(|event| event.description.contains(id)).collect();
    Noted {
        is_full_needed: about.iter().any(|event| event.code == Some(FULL_NEEDED)),
        texts: about.into_iter().filter(is_bad).map(|event| event.description).collect(),
    }
}

fn is_bad(event: &Event) -> bool {
    event.code.is_none_or(|code| !GOOD.contains(&code))
}
