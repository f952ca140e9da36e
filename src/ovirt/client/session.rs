//! A session with the engine: from the first request to the logout.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::header::{ACCEPT, ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::de::DeserializeOwned;

use crate::base::cancel::Cancel;
use crate::base::chance::Chance;
use crate::base::secret::Secret;
use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::address::EngineUrl;
use crate::ovirt::client::answer::{Answer, Lost, http, send};
use crate::ovirt::client::fault::error_of;
use crate::ovirt::client::login::{FORM, LOGOUT_PATH, TOKEN_PATH, logout_form, token, token_form};
use crate::ovirt::client::path::ApiPath;
use crate::ovirt::client::retry::{Patience, sleep};
use crate::ovirt::trust::{Anchor, Certificate, certificates};

const JSON: &str = "application/json";
/// Where the engine shows its internal authority, to everybody.
const CA_PATH: &str = "/ovirt-engine/services/pki-resource\
                       ?resource=ca-certificate&format=X509-PEM-CA";

type Sent = std::result::Result<Answer, Lost>;

/// What a session needs.
pub struct EngineOptions {
    /// Where the engine answers.
    pub url: EngineUrl,
    /// User with its profile: `backup@internal`.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// Who must have signed the certificate of the API.
    pub anchor: Anchor,
    /// Deadlines and tries.
    pub patience: Patience,
    /// Names the session in the log of the engine: letters, digits, `-` and `_`, at most 36.
    pub correlation: String,
    /// Random numbers for pauses.
    pub chance: Arc<dyn Chance>,
    /// Ends waiting.
    pub cancel: Cancel,
}

/// A session with the engine. Logs in when the first request needs it, and out when the last value
/// of it is dropped. Threads share it by reference.
pub struct Engine {
    session: Arc<Session>,
    cancel: Cancel,
}

/// What all values of a session share.
struct Session {
    http: Client,
    options: EngineOptions,
    token: Mutex<Option<Arc<Secret>>>,
}

impl Engine {
    /// Prepares a session; nothing is sent yet.
    pub fn new(options: EngineOptions) -> Result<Self> {
        let http = http(&options.anchor, &options.patience)?;
        let cancel = options.cancel.clone();
        Ok(Self { session: Arc::new(Session { http, options, token: Mutex::default() }), cancel })
    }

    /// The same session for other work: `cancel` ends its waiting. What has to be taken back after
    /// the end of a run was asked for must not be ended by that.
    #[must_use]
    pub fn with_cancel(&self, cancel: Cancel) -> Self {
        Self { session: Arc::clone(&self.session), cancel }
    }

    /// Where the engine answers.
    #[must_use]
    pub fn url(&self) -> &EngineUrl {
        &self.session.options.url
    }

    /// What ends waiting.
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.session.options.patience
    }

    /// Waits before the next try, after that many failures.
    pub(super) fn pause(&self, failures: u32) -> Result<()> {
        let pause = self.patience().pause(failures, &*self.session.options.chance);
        self.wait(pause)
    }

    /// Waits that long, or until the end of the run is asked for.
    pub fn wait(&self, pause: Duration) -> Result<()> {
        sleep(pause, &self.cancel)
    }

    /// Gets a token unless there is one.
    pub fn log_in(&self) -> Result<()> {
        self.session.token().map(drop).map_err(Error::from)
    }

    /// Reads a document.
    pub fn get<T: DeserializeOwned>(&self, path: &ApiPath) -> Result<T> {
        let looked = self.look(path).map_err(Error::from);
        let looked = looked.and_then(|answer| match answer.is_success() {
            true => answer.json(),
            false => Err(error_of(&answer)),
        });
        looked.map_err(|error| error.at(path.as_str()))
    }

    /// Reads a document that may be missing.
    pub fn find<T: DeserializeOwned>(&self, path: &ApiPath) -> Result<Option<T>> {
        match self.get(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Sends a request that only looks, again after failures that may pass.
    fn look(&self, path: &ApiPath) -> Sent {
        let mut failures = 0;
        loop {
            let looked = self.authorized(&Method::GET, path, b"");
            let may_pass = match &looked {
                Ok(answer) => matches!(answer.status, 409 | 429 | 500..),
                Err(lost) => lost.may_pass,
            };
            failures += 1;
            if !may_pass || failures >= self.patience().tries {
                return looked;
            }
            self.pause(failures)?;
        }
    }

    /// Sends a request with the token, and with a new one if the engine has forgotten it: it looks
    /// at the token before anything else.
    pub(super) fn authorized(&self, method: &Method, path: &ApiPath, body: &[u8]) -> Sent {
        let used = self.session.token()?;
        let answer = self.session.send(method, path, body, &used)?;
        if answer.status != 401 {
            return Ok(answer);
        }
        self.session.forget(&used);
        self.session.send(method, path, body, &*self.session.token()?)
    }
}

impl Session {
    fn send(&self, method: &Method, path: &ApiPath, body: &[u8], token: &Secret) -> Sent {
        let url = format!("{}{path}", self.options.url);
        let request = self.http.request(method.clone(), url).header(ACCEPT, JSON);
        let request = request.header("Version", "4").header(ACCEPT_LANGUAGE, "en-US");
        let request = request.header("Correlation-Id", &self.options.correlation);
        let request = request.header(AUTHORIZATION, bearer(token)?);
        let request = match body.is_empty() {
            true => request,
            false => request.header(CONTENT_TYPE, JSON).body(body.to_vec()),
        };
        let began = Instant::now();
        let sent = send(request);
        let outcome = match &sent {
            Ok(answer) => answer.status.to_string(),
            Err(lost) => lost.error.to_string(),
        };
        log::debug!("{method} {path}: {outcome} after {} ms", began.elapsed().as_millis());
        sent
    }

    fn token(&self) -> std::result::Result<Arc<Secret>, Lost> {
        let mut held = lock(&self.token);
        if let Some(token) = &*held {
            return Ok(Arc::clone(token));
        }
        let EngineOptions { url, user, password, .. } = &self.options;
        let form = token_form(user, password);
        // The engine compares this header as a whole.
        let request = self.http.post(format!("{url}{TOKEN_PATH}")).header(ACCEPT, JSON);
        let answer = send_form(request, &form).map_err(|lost| Lost {
            // A login changes nothing that matters.
            may_have_arrived: false,
            ..lost
        })?;
        let new = token(&answer, user).map_err(|error| {
            let may_pass = answer.status >= 500;
            Lost { error, may_pass, may_have_arrived: false }
        })?;
        let new = Arc::new(new);
        *held = Some(Arc::clone(&new));
        Ok(new)
    }

    fn forget(&self, used: &Arc<Secret>) {
        let mut held = lock(&self.token);
        if held.as_ref().is_some_and(|token| Arc::ptr_eq(token, used)) {
            *held = None;
        }
    }

    /// Gives the token back.
    fn log_out(&self) -> Result<()> {
        let Some(token) = lock(&self.token).take() else { return Ok(()) };
        let url = format!("{}{LOGOUT_PATH}", self.options.url);
        let sent = send_form(self.http.post(url).header(ACCEPT, JSON), &logout_form(&token));
        sent.map(drop).map_err(Error::from)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The engine ends a session by itself when nothing uses it.
        if let Err(error) = self.log_out() {
            log::debug!("cannot log out: {}", error.chain());
        }
    }
}

fn bearer(token: &Secret) -> Result<HeaderValue> {
    let mut value = Secret::with_capacity(token.expose().len() + 7);
    value.push(b"Bearer ");
    value.push(token.expose());
    let mut header = HeaderValue::from_bytes(value.expose())
        .map_err(|_| Error::new(ErrorKind::Remote, "the token of the engine is no text"))?;
    header.set_sensitive(true);
    Ok(header)
}

fn send_form(request: RequestBuilder, form: &Secret) -> Sent {
    send(request.header(CONTENT_TYPE, FORM).body(form.expose().to_vec()))
}

/// The internal authority of the engine, as it shows it to everybody. With [`Anchor::Nobody`], it
/// could be anybody's: compare its fingerprint before it is trusted.
pub fn fetch_internal_ca(
    url: &EngineUrl,
    anchor: &Anchor,
    patience: &Patience,
) -> Result<Vec<Certificate>> {
    let request = http(anchor, patience)?.get(format!("{url}{CA_PATH}"));
    let answer = send(request)?;
    if !answer.is_success() {
        return Err(error_of(&answer).at(CA_PATH));
    }
    certificates(answer.body.expose()).map_err(|error| {
        let what = "the engine does not show its certificate authority: is this its URL?";
        Error::new(ErrorKind::Remote, what).because(error.chain())
    })
}
