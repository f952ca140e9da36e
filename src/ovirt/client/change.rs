//! Requests that change something, and what is known when one of them fails.

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind};
use crate::ovirt::client::answer::{Answer, Lost};
use crate::ovirt::client::fault::error_of;
use crate::ovirt::client::path::ApiPath;
use crate::ovirt::client::session::Engine;

/// Why a request that changes something did not come to a good answer.
#[derive(Debug)]
pub enum Unmade {
    /// Nothing was changed: the engine refused, or never got the request.
    Refused {
        /// What it answered, if it did.
        status: Option<u16>,
        /// Why.
        error: Error,
    },
    /// Nobody knows whether it was carried out: the answer was lost, or the engine failed.
    Unknown(Error),
}

impl Unmade {
    /// Whether the engine refused with that status.
    #[must_use]
    pub fn is_status(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { status: Some(status), .. } if *status == wanted)
    }

    /// The error.
    #[must_use]
    pub fn error(&self) -> &Error {
        match self {
            Self::Refused { error, .. } | Self::Unknown(error) => error,
        }
    }
}

impl From<Unmade> for Error {
    fn from(unmade: Unmade) -> Self {
        match unmade {
            Unmade::Refused { error, .. } | Unmade::Unknown(error) => error,
        }
    }
}

/// How a request that changes something ends.
pub type Made<T> = std::result::Result<T, Unmade>;

/// Whether a request may reach the engine twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// It is sent again only if it certainly was not carried out.
    Never,
    /// Carrying it out twice is as good as once.
    Harmless,
}

impl Engine {
    /// Creates an object from `body`. Never sent again once it may have been carried out: after
    /// [`Unmade::Unknown`] the caller looks for what it wanted to create.
    pub fn create<T: DeserializeOwned>(&self, path: &ApiPath, body: &impl Serialize) -> Made<T> {
        let answer = self.change(&Method::POST, path, &to_json(body)?, Repeat::Never)?;
        // It exists, whatever it looks like.
        answer.json().map_err(|error| Unmade::Unknown(error.at(path.as_str())))
    }

    /// Overwrites members of an object. Doing that twice is as good as once.
    pub fn update<T: DeserializeOwned>(&self, path: &ApiPath, body: &impl Serialize) -> Made<T> {
        let answer = self.change(&Method::PUT, path, &to_json(body)?, Repeat::Harmless)?;
        answer.json().map_err(|error| Unmade::Unknown(error.at(path.as_str())))
    }

    /// Asks an object to do something that is the same when it is asked twice: to end, to go on.
    pub fn act(&self, path: &ApiPath) -> Made<()> {
        self.change(&Method::POST, path, b"{}", Repeat::Harmless).map(drop)
    }

    /// Deletes an object. Says whether it was still there.
    pub fn delete(&self, path: &ApiPath) -> Made<bool> {
        match self.change(&Method::DELETE, path, b"", Repeat::Harmless) {
            Ok(_) => Ok(true),
            Err(unmade) if unmade.is_status(404) => Ok(false),
            Err(unmade) => Err(unmade),
        }
    }

    /// Sends a request again after failures that may pass, as far as `repeat` allows it.
    fn change(&self, method: &Method, path: &ApiPath, body: &[u8], repeat: Repeat) -> Made<Answer> {
        let mut failures = 0;
        let mut may_be_done = false;
        let ended = loop {
            let sent = self.authorized(method, path, body);
            let (may_pass, is_unknown) = match &sent {
                Ok(answer) => (matches!(answer.status, 409 | 429 | 500..), answer.status >= 500),
                Err(lost) => (lost.may_pass, lost.may_have_arrived),
            };
            may_be_done |= is_unknown;
            failures += 1;
            let may_repeat = repeat == Repeat::Harmless || !may_be_done;
            if !may_pass || !may_repeat || failures >= self.patience().tries {
                break sent;
            }
            if let Err(error) = self.pause(failures) {
                break Err(error.into());
            }
        };
        conclude(ended, may_be_done, path)
    }
}

fn to_json(body: &impl Serialize) -> Made<Vec<u8>> {
    serde_json::to_vec(body).map_err(|error| {
        let what = "the request cannot be written as JSON";
        let error = Error::new(ErrorKind::Invalid, what).because(error);
        Unmade::Refused { status: None, error }
    })
}

fn conclude(
    sent: std::result::Result<Answer, Lost>,
    may_be_done: bool,
    path: &ApiPath,
) -> Made<Answer> {
    let (status, error) = match sent {
        Ok(answer) if answer.is_success() => return Ok(answer),
        Ok(answer) => (Some(answer.status), error_of(&answer)),
        Err(lost) => (None, lost.error),
    };
    let error = error.at(path.as_str());
    // After a failure that may have done it, a refusal may well be about what is done already.
    match may_be_done && status.is_none_or(|status| status >= 500) {
        true => Err(Unmade::Unknown(error)),
        false => Err(Unmade::Refused { status, error }),
    }
}
