//! The engine's REST interface: JSON over HTTPS, with a token.
//!
//! Requests that only look are repeated when the engine or the network fails for a moment; others
//! never are. Nothing waits for ever, redirects are not followed, and proxies of the environment
//! are not asked: a password goes to the configured engine or nowhere.

mod answer;
mod fault;
mod login;
mod path;
mod retry;
mod session;

pub use path::ApiPath;
pub use retry::Patience;
pub use session::{Engine, EngineOptions, fetch_internal_ca};
