//! What the engine says when it does not do what it was asked to.

use serde::Deserialize;

use crate::error::{Error, ErrorKind};
use crate::ovirt::client::answer::Answer;

/// Longest text of the engine that is repeated, in characters.
const TEXT_MAX: usize = 1000;

/// The document that stands in the place of an answer.
#[derive(Debug, Default, Deserialize)]
struct Fault {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    detail: String,
}

/// A fault inside an action document.
#[derive(Debug, Default, Deserialize)]
struct Failed {
    #[serde(default)]
    fault: Fault,
}

/// The error for an answer that is no success.
pub(super) fn error_of(answer: &Answer) -> Error {
    let kind = match answer.status {
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Busy,
        _ => ErrorKind::Remote,
    };
    let what = match text_of(answer) {
        Some(text) => format!("the engine answered {}: {text}", answer.status),
        None => format!("the engine answered {}", answer.status),
    };
    Error::new(kind, what)
}

/// The engine's own words. Pages of web servers are nothing for people.
fn text_of(answer: &Answer) -> Option<String> {
    if !answer.is_json() {
        return None;
    }
    let bytes = answer.body.expose();
    let fault: Fault = serde_json::from_slice(bytes).ok()?;
    let inner =
        || serde_json::from_slice(bytes).map_or_else(|_| Fault::default(), |f: Failed| f.fault);
    let fault = if fault.detail.is_empty() && fault.reason.is_empty() { inner() } else { fault };
    // A list of messages, as its language writes lists.
    let detail = fault.detail.trim();
    let detail = detail.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(detail);
    let text = match (fault.reason.trim(), detail) {
        ("", "") => return None,
        ("", text) | (text, "") => text.to_owned(),
        (reason, detail) => format!("{reason}: {detail}"),
    };
    Some(text.chars().take(TEXT_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    fn answer(status: u16, kind: &str, body: &str) -> Answer {
        Answer { status, content_type: kind.to_owned(), body: Secret::from(body) }
    }

    #[test]
    fn a_fault_is_told_in_the_words_of_the_engine_without_the_brackets() {
        let body = r#"{"detail":"[Cannot backup VM. The VM is during a backup operation.]",
                       "reason":"Operation Failed"}"#;
        let error = error_of(&answer(409, "application/json", body));
        let expected = "the engine answered 409: Operation Failed: Cannot backup VM. \
                        The VM is during a backup operation.";
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Busy, expected));
        let body = r#"{"status":"failed","fault":{"reason":"Invalid value"}}"#;
        let error = error_of(&answer(400, "application/json;charset=UTF-8", body));
        assert_eq!(error.to_string(), "the engine answered 400: Invalid value");
    }

    #[test]
    fn pages_of_a_web_server_are_not_repeated() {
        for (status, kind) in [
            (401, ErrorKind::Denied),
            (403, ErrorKind::Denied),
            (404, ErrorKind::NotFound),
            (502, ErrorKind::Remote),
        ] {
            let error = error_of(&answer(status, "text/html", "<html>token=abc</html>"));
            assert_eq!(error.to_string(), format!("the engine answered {status}"));
            assert_eq!(error.kind(), kind);
        }
        let error = error_of(&answer(500, "application/json", "no json"));
        assert_eq!(error.to_string(), "the engine answered 500");
    }
}
