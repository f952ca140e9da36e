//! One request and its answer, without any meaning.

use std::error::Error as StdError;
use std::io::Read;
use std::time::Duration;

use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;

use crate::base::secret::Secret;
use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::client::retry::Patience;
use crate::ovirt::trust::{Anchor, client_config, is_distrust};

/// Longest answer that is read. A list of ten thousand VMs takes about 30 MB.
const ANSWER_BYTES_MAX: usize = 256 << 20;
const READ_BYTES: usize = 64 << 10;
/// Web servers close idle connections after five seconds or later. A request on one that is just
/// being closed is lost, and nobody can tell whether it arrived.
const IDLE: Duration = Duration::from_secs(3);

/// An answer of the engine. Its body may hold secrets of VMs.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Secret,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(super) fn is_json(&self) -> bool {
        let kind = self.content_type.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/json")
    }

    /// Reads the body as JSON. What it holds is not repeated in errors.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        if !self.is_json() {
            let what = format!(
                "the engine answered {:?} where JSON was expected: is this its URL?",
                self.content_type
            );
            return Err(Error::new(ErrorKind::Remote, what));
        }
        serde_json::from_slice(self.body.expose()).map_err(|error| {
            let what = format!(
                "the answer of the engine does not read as expected (line {}, column {})",
                error.line(),
                error.column()
            );
            Error::new(ErrorKind::Remote, what)
        })
    }
}

/// Why there is no answer.
pub(super) struct Lost {
    pub(super) error: Error,
    /// Whether another try may end better.
    pub(super) may_pass: bool,
    /// Whether the engine may have got the request, and done what it asks for.
    pub(super) may_have_arrived: bool,
}

impl Lost {
    fn passing(error: Error) -> Self {
        Self { error, may_pass: true, may_have_arrived: true }
    }
}

/// An error before anything was sent.
impl From<Error> for Lost {
    fn from(error: Error) -> Self {
        Self { error, may_pass: false, may_have_arrived: false }
    }
}

impl From<Lost> for Error {
    fn from(lost: Lost) -> Self {
        lost.error
    }
}

/// The HTTP client of one engine.
pub(super) fn http(anchor: &Anchor, patience: &Patience) -> Result<Client> {
    let builder = Client::builder()
        .tls_backend_preconfigured(client_config(anchor)?)
        .redirect(Policy::none())
        .no_proxy()
        .http1_only()
        .user_agent(concat!("backstop/", env!("CARGO_PKG_VERSION")))
        .pool_idle_timeout(IDLE)
        .connect_timeout(patience.connect)
        .timeout(patience.request);
    let built = builder.build();
    built.map_err(|error| unreached(error, "cannot prepare the client of the engine").error)
}

/// Sends a request and reads its answer to the end.
pub(super) fn send(request: RequestBuilder) -> std::result::Result<Answer, Lost> {
    let sent = request.send();
    let response = sent.map_err(|error| unreached(error, "cannot reach the engine"))?;
    let status = response.status().as_u16();
    if response.status().is_redirection() {
        let what = format!("the engine answered {status}, a redirect: is this its URL?");
        return Err(Error::new(ErrorKind::Remote, what).into());
    }
    let content_type = content_type(response.headers());
    Ok(Answer { status, content_type, body: body(response)? })
}

fn content_type(headers: &HeaderMap) -> String {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn body(mut response: Response) -> std::result::Result<Secret, Lost> {
    let announced = response.content_length().and_then(|len| usize::try_from(len).ok());
    let mut body = Secret::with_capacity(announced.unwrap_or_default().min(READ_BYTES << 4));
    let mut buffer = vec![0; READ_BYTES];
    let mut len = 0;
    loop {
        let read = response.read(&mut buffer).map_err(|error| {
            let what = "the answer of the engine broke off";
            Lost::passing(Error::new(ErrorKind::Remote, what).because(error))
        })?;
        if read == 0 {
            return Ok(body);
        }
        len += read;
        if len > ANSWER_BYTES_MAX {
            let error = Error::new(ErrorKind::Remote, "the answer of the engine is too long");
            return Err(Lost { error, may_pass: false, may_have_arrived: true });
        }
        body.push(&buffer[..read]);
    }
}

/// The error of the library without its URL, and with the causes that say more than it does.
fn unreached(error: reqwest::Error, what: &'static str) -> Lost {
    let error = error.without_url();
    let mut cause = error.source();
    let mut texts = vec![error.to_string()];
    while let Some(next) = cause {
        texts.push(next.to_string());
        cause = next.source();
    }
    texts.dedup();
    let (may_pass, may_have_arrived) = (!is_distrust(&error), !error.is_connect());
    let error = Error::new(ErrorKind::Remote, what).because(texts.join(": "));
    Lost { error, may_pass, may_have_arrived }
}
