//! The engine's REST interface: JSON over HTTPS, with a token.
//!
//! Requests that only look are repeated when the engine or the network fails for a moment, and so
//! are those that are the same when they are carried out twice. Others never are once they may have
//! been carried out: what came of them has to be looked for (`change`). Nothing waits for ever,
//! redirects are not followed, and proxies of the environment are not asked: a password goes to the
//! configured engine or nowhere.

mod answer;
mod change;
mod fault;
mod login;
mod path;
mod retry;
mod session;

pub use change::{Made, Unmade};
pub use path::ApiPath;
pub use retry::Patience;
pub(in crate::ovirt) use retry::sleep;
pub use session::{Engine, EngineOptions, fetch_internal_ca};
