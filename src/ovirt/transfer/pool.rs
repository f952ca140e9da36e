//! Connections to one ticket: few, shared, and by the way that leads there at the moment.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::base::sync::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::check::Way;
use crate::ovirt::client::sleep;
use crate::ovirt::probe::Reach;
use crate::ovirt::transfer::http::Connection;
use crate::ovirt::transfer::keeper::TicketUrls;
use crate::ovirt::transfer::options::{TransferOptions, Transport};
use crate::ovirt::transfer::places::Place;
use crate::ovirt::transfer::route::Route;
use crate::ovirt::transfer::trouble::{Attempt, Trouble, may_pass, unreached};
use crate::ovirt::transfer::url::ImageUrl;

/// A connection that rested longer is closed: the daemon is about to do the same.
const IDLE_MAX: Duration = Duration::from_secs(40);
/// Whoever waits for a connection looks around that often.
const TICK: Duration = Duration::from_millis(200);
/// Most times that the engine is asked for one piece of work.
const RENEWALS_MAX: u32 = 3;
/// Bytes in a row that forgive all failures before them.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Connections to one ticket.
pub(super) struct Pool {
    options: TransferOptions,
    state: Mutex<State>,
    changed: Condvar,
    /// Held by the thread that asks the engine.
    renewing: Mutex<()>,
}

struct State {
    urls: TicketUrls,
    route: Arc<Route>,
    /// Whether anybody ever answered by this route.
    is_proven: bool,
    idle: VecDeque<Connection>,
    /// All connections that there are.
    open: usize,
    max: usize,
    fallbacks: Vec<String>,
}

/// What one piece of work has gone through.
#[derive(Debug, Default)]
pub(super) struct Tries {
    failures: u32,
    renewals: u32,
    /// Number of the route that was used last.
    route: u64,
    progress_bytes: u64,
}

impl Tries {
    /// Counts bytes that arrived.
    pub(super) fn progress(&mut self, bytes: usize) {
        self.progress_bytes += bytes as u64;
        if self.progress_bytes >= PROGRESS_BYTES {
            (self.failures, self.renewals) = (0, 0);
        }
    }
}

impl Pool {
    /// No connection yet, and one at most for now.
    pub(super) fn new(urls: &TicketUrls, options: TransferOptions) -> Result<Self> {
        let route = Arc::new(first_route(urls, options.way, 1)?);
        let (idle, fallbacks) = (VecDeque::new(), Vec::new());
        let urls = urls.clone();
        let state = State { urls, route, is_proven: false, idle, open: 0, max: 1, fallbacks };
        let (state, changed, renewing) = (Mutex::new(state), Condvar::new(), Mutex::new(()));
        Ok(Self { options, state, changed, renewing })
    }

    pub(super) fn options(&self) -> &TransferOptions {
        &self.options
    }

    /// Sets how many connections there may be.
    pub(super) fn set_max(&self, max: usize) {
        lock(&self.state).max = max;
    }

    pub(super) fn route(&self) -> Arc<Route> {
        Arc::clone(&lock(&self.state).route)
    }

    pub(super) fn fallbacks(&self) -> Vec<String> {
        lock(&self.state).fallbacks.clone()
    }

    /// From now on connections are made by another route.
    pub(super) fn go_by(&self, route: Route) {
        let mut state = lock(&self.state);
        state.route = Arc::new(route);
        state.is_proven = true;
        self.drop_idle(&mut state);
    }

    fn drop_idle(&self, state: &mut State) {
        state.open -= state.idle.len();
        state.idle.clear();
        self.changed.notify_all();
    }

    /// Does `work` on a connection, again after trouble that may pass.
    pub(super) fn with<T>(
        &self,
        mut work: impl FnMut(&mut Connection, &ImageUrl) -> Attempt<T>,
    ) -> Result<T> {
        let mut tries = Tries::default();
        loop {
            let done = self.lease(&mut tries).and_then(|mut lease| {
                let url = Arc::clone(&lease.route.url);
                work(&mut lease, &url)
            });
            match done {
                Ok(value) => return Ok(value),
                Err(trouble) => self.recover(&mut tries, trouble)?,
            }
        }
    }

    /// A connection for a while. Waits until there may be one more.
    pub(super) fn lease(&self, tries: &mut Tries) -> Attempt<Lease<'_>> {
        let (route, turn) = self.await_turn()?;
        tries.route = route.number;
        let mut lease = Lease { pool: self, route, connection: None };
        lease.connection = Some(match turn {
            Turn::Rested(connection) => *connection,
            Turn::New(place) => lease.route.connect(&self.options, place)?,
        });
        Ok(lease)
    }

    /// Takes a connection that rests, or the place for a new one.
    fn await_turn(&self) -> Result<(Arc<Route>, Turn)> {
        let mut state = lock(&self.state);
        loop {
            if self.options.cancel.is_requested() {
                return Err(interrupted());
            }
            while let Some(connection) = state.idle.pop_back() {
                if connection.used_at().elapsed() < IDLE_MAX {
                    return Ok((Arc::clone(&state.route), Turn::Rested(Box::new(connection))));
                }
                state.open -= 1;
            }
            if let Some(turn) = self.new_turn(&state) {
                state.open += 1;
                return Ok((Arc::clone(&state.route), turn));
            }
            let waited = self.changed.wait_timeout(state, TICK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Leave for one more connection.
    fn new_turn(&self, state: &State) -> Option<Turn> {
        match (&self.options.places, state.open) {
            (_, open) if open >= state.max => None,
            (None, _) | (_, 0) => Some(Turn::New(None)),
            (Some(places), _) => places.take().map(|place| Turn::New(Some(place))),
        }
    }

    /// Whether nobody used a connection for so long.
    pub(super) fn has_rested(&self, rest: Duration) -> bool {
        let state = lock(&self.state);
        let last = state.idle.iter().map(Connection::used_at).max();
        state.open == state.idle.len() && last.is_none_or(|last| last.elapsed() >= rest)
    }

    fn give_back(&self, route: &Route, connection: Option<Connection>) {
        let mut state = lock(&self.state);
        let is_current = state.route.number == route.number;
        match connection.filter(|connection| is_current && connection.is_free()) {
            Some(connection) => {
                state.is_proven = true;
                state.idle.push_back(connection);
            }
            None => state.open -= 1,
        }
        self.changed.notify_one();
    }

    /// Makes ready for another try, or says why there is none.
    pub(super) fn recover(&self, tries: &mut Tries, trouble: Trouble) -> Result<()> {
        if self.options.cancel.is_requested() {
            return Err(interrupted());
        }
        tries.failures += 1;
        tries.progress_bytes = 0;
        let is_failing = matches!(trouble, Trouble::Failing(_));
        let (error, is_hopeless) = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Refused(error) => return self.renew(tries, error, false),
            Trouble::Unreachable(reach) if self.detour(tries, &reach) => {
                tries.failures = 0;
                return Ok(());
            }
            Trouble::Unreachable(reach) => (unreached(&reach), !may_pass(&reach)),
            Trouble::Broken(error) | Trouble::Failing(error) => (error, false),
        };
        log::debug!("image transfer, failure {}: {}", tries.failures, error.chain());
        self.options.counters.retry();
        if is_hopeless || tries.failures >= self.options.patience.retry.tries {
            tries.failures = 0;
            return self.renew(tries, error, is_failing);
        }
        self.pause(tries.failures)
    }

    fn pause(&self, failures: u32) -> Result<()> {
        let TransferOptions { patience, chance, cancel, .. } = &self.options;
        sleep(patience.retry.pause(failures, &**chance), cancel)
    }

    /// Changes to another way if the one that was used does not lead there; says whether the next
    /// try is by another way.
    fn detour(&self, tries: &Tries, reach: &Reach) -> bool {
        let mut state = lock(&self.state);
        if state.route.number != tries.route {
            return true;
        }
        if state.is_proven && tries.failures < 2 && may_pass(reach) {
            return false;
        }
        let Some(next) = next_route(&state, self.options.way) else { return false };
        let (from, to) = (state.route.transport, next.transport);
        let fallback = format!("{to} instead of {from}: {}: {reach}", state.route.url.place);
        log::info!("image transfer: {fallback}");
        state.fallbacks.push(fallback);
        state.route = Arc::new(next);
        state.is_proven = false;
        self.drop_idle(&mut state);
        true
    }

    /// Asks the engine where the bytes are now, or for another ticket.
    fn renew(&self, tries: &mut Tries, error: Error, wants_another: bool) -> Result<()> {
        tries.renewals += 1;
        let Some(keeper) = &self.options.keeper else { return Err(error) };
        if tries.renewals > RENEWALS_MAX {
            return Err(error);
        }
        if tries.renewals > 1 {
            self.pause(tries.renewals)?;
        }
        let _one_at_a_time = lock(&self.renewing);
        if self.route().number != tries.route {
            return Ok(());
        }
        log::debug!("image transfer: asking the engine, because {}", error.chain());
        // A ticket ends only after its connections.
        self.drop_idle(&mut lock(&self.state));
        let renewed = if wants_another { keeper.replace() } else { keeper.renew() };
        let urls = renewed.map_err(|cause| {
            let what = format!("the transfer of an image cannot go on ({})", error.chain());
            Error::new(cause.kind(), what).because(cause)
        })?;
        self.options.counters.retry();
        let mut state = lock(&self.state);
        let stays = urls.direct.as_ref().map(|url| url.to_string())
            == state.urls.direct.as_ref().map(|url| url.to_string());
        let way = match state.route.transport {
            // What cannot be reached is not asked again.
            Transport::Proxy if stays && urls.proxy.is_some() => Way::Proxy,
            _ => self.options.way,
        };
        state.route = Arc::new(first_route(&urls, way, state.route.number + 1)?);
        state.urls = urls;
        state.is_proven = false;
        self.drop_idle(&mut state);
        Ok(())
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Cancelled, "the transfer of an image was interrupted")
}

fn first_route(urls: &TicketUrls, way: Way, number: u64) -> Result<Route> {
    let (url, transport) = match (way, &urls.direct, &urls.proxy) {
        (Way::Auto | Way::Direct, Some(url), _) => (url, Transport::Direct),
        (Way::Auto | Way::Proxy, _, Some(url)) => (url, Transport::Proxy),
        _ => {
            let what = "the engine names no place where the image can be had by the way wanted";
            return Err(Error::new(ErrorKind::Remote, what));
        }
    };
    Ok(Route { number, transport, url: Arc::new(ImageUrl::parse(url)?), socket: None })
}

fn next_route(state: &State, way: Way) -> Option<Route> {
    let number = state.route.number + 1;
    let (transport, url) = match state.route.transport {
        Transport::Unix => (Transport::Direct, Arc::clone(&state.route.url)),
        Transport::Direct if way == Way::Auto => {
            let url = ImageUrl::parse(state.urls.proxy.as_ref()?).ok()?;
            (Transport::Proxy, Arc::new(url))
        }
        Transport::Direct | Transport::Proxy => return None,
    };
    Some(Route { number, transport, url, socket: None })
}

/// What somebody who waited gets.
enum Turn {
    Rested(Box<Connection>),
    New(Option<Place>),
}

/// A connection that is given back when this is dropped, or closed if it is of no more use.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    pub(super) route: Arc<Route>,
    connection: Option<Connection>,
}

impl Deref for Lease<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a lease that was handed out has its connection")
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a lease that was handed out has its connection")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let connection = self.connection.take();
        self.pool.give_back(&self.route, connection);
    }
}
