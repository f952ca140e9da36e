//! Whom to believe: certificates, and the authorities that must have signed them.
//!
//! There are two authorities. One signed the certificate of the API, which an administrator may
//! have replaced; the engine's internal one signs those of all hosts and of the transfer proxy,
//! always. Each is a file that is read again for every connection, so that a changed one needs no
//! restart. Names are always verified.

mod certificate;
mod tls;

pub use certificate::{Certificate, Fingerprint, certificates};
pub use tls::{Anchor, Handshake, TlsStream, client_config, encrypt, handshake, is_distrust};
