//! Why a command did not do what it was asked to, and how that is told.

use std::fmt;
use std::fmt::Write;

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::hint;
use crate::error::{Error, ErrorKind};

/// The end of a command that did not do what it was asked to.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line makes no sense; nothing was begun.
    Usage(String),
    /// The work failed.
    Work {
        /// Why.
        error: Error,
        /// What to do next, where the command knows it better than the kind of the error.
        hint: Option<String>,
    },
}

/// How a command ends.
pub(super) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(super) fn usage(what: impl Into<String>) -> Self {
        Self::Usage(what.into())
    }

    /// The same with this advice.
    pub(super) fn with_hint(self, advice: &str) -> Self {
        match self {
            Self::Work { error, .. } => Self::Work { error, hint: Some(advice.to_owned()) },
            usage => usage,
        }
    }

    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Work { error, .. } => Exit::of_error(error.kind()),
        }
    }

    /// What to do next.
    fn hint(&self) -> Option<&str> {
        match self {
            Self::Usage(_) => Some("`backstop help` and the --help of every command have examples"),
            Self::Work { error, hint } => hint.as_deref().or_else(|| hint::hint(error.kind())),
        }
    }

    /// The JSON document that stands in the place of the command's own.
    pub(super) fn document(&self) -> FailureDocument {
        let error = match self {
            Self::Usage(what) => {
                let kind = "usage".to_owned();
                ErrorDocument { kind, message: what.clone(), causes: Vec::new() }
            }
            Self::Work { error, .. } => ErrorDocument::new(error),
        };
        let hint = self.hint().map(ToOwned::to_owned);
        let exit_code = self.exit().number();
        FailureDocument { error: FailedDocument { error, hint, exit_code } }
    }
}

/// What a command prints as JSON that fails.
#[derive(Debug, Serialize)]
pub(super) struct FailureDocument {
    error: FailedDocument,
}

#[derive(Debug, Serialize)]
struct FailedDocument {
    #[serde(flatten)]
    error: ErrorDocument,
    hint: Option<String>,
    exit_code: u8,
}

/// An error as JSON.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ErrorDocument {
    kind: String,
    message: String,
    causes: Vec<String>,
}

impl ErrorDocument {
    pub(super) fn new(error: &Error) -> Self {
        let kind = kind_name(error.kind());
        Self { kind, message: error.to_string(), causes: causes(error) }
    }
}

impl fmt::Display for Failure {
    /// The lines for people: what failed, why, and what to do next.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => write!(f, "error: {what}")?,
            Self::Work { error, .. } => {
                write!(f, "error: {error}")?;
                causes(error).iter().try_for_each(|cause| write!(f, "\n  because: {cause}"))?;
            }
        }
        match self.hint() {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Work { error, hint: None }
    }
}

/// Advice of the place that knows what was tried.
pub(super) trait Advise<T> {
    /// Says `hint` if the failure is of that kind.
    fn advise(self, kind: ErrorKind, hint: &str) -> Result<T>;
}

impl<T, F: Into<Failure>> Advise<T> for std::result::Result<T, F> {
    fn advise(self, kind: ErrorKind, advice: &str) -> Result<T> {
        self.map_err(|failure| match failure.into() {
            Failure::Work { error, hint: None } if error.kind() == kind => {
                Failure::Work { error, hint: Some(advice.to_owned()) }
            }
            other => other,
        })
    }
}

/// The messages of what caused `error`, nearest first.
fn causes(error: &Error) -> Vec<String> {
    let first = std::error::Error::source(error);
    std::iter::successors(first, |cause| cause.source()).map(ToString::to_string).collect()
}

/// The kind as scripts see it.
fn kind_name(kind: ErrorKind) -> String {
    let mut name = String::new();
    for letter in format!("{kind:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        // Writing to a string cannot fail.
        let _ = write!(name, "{}", letter.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing_image() -> Failure {
        let cause = std::io::Error::other("the medium sighed");
        Error::new(ErrorKind::NotFound, "cannot open the image").at("a.raw").because(cause).into()
    }

    #[test]
    fn people_read_what_failed_why_and_what_to_do_next() {
        let failure = Err::<(), _>(missing_image()).advise(ErrorKind::NotFound, "look for it");
        let text = failure.unwrap_err().to_string();
        let expected = "error: cannot open the image in a.raw\n  because: the medium sighed\n\
                        hint: look for it";
        assert_eq!(text, expected);
    }

    #[test]
    fn advice_for_another_kind_is_not_given() {
        let failure = Err::<(), _>(missing_image()).advise(ErrorKind::Busy, "wait");
        assert!(!failure.unwrap_err().to_string().contains("wait"));
    }

    #[test]
    fn scripts_read_the_same_as_people() {
        let document = |failure: Failure| serde_json::to_value(failure.document()).unwrap();
        let error = &document(missing_image())["error"];
        assert_eq!(error["kind"], "not_found");
        assert_eq!(error["message"], "cannot open the image in a.raw");
        assert_eq!(error["causes"], serde_json::json!(["the medium sighed"]));
        assert_eq!(error["exit_code"], 1);
        let error = &document(Failure::usage("no"))["error"];
        assert_eq!((&error["kind"], &error["exit_code"]), (&"usage".into(), &2.into()));
    }
}
