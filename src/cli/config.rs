//! The configuration file.
//!
//! It holds no password, only where one is. Messages about it name lines and keys, never values:
//! somebody may have written a password where none belongs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cli::failure::{Advise, Failure, Result};
use crate::error::{Error, ErrorKind, IoContext};
use crate::format::engine::Sites;
use crate::ovirt::address::{AddressMap, EngineUrl};
use crate::ovirt::check::Way;
use crate::ovirt::trust::Anchor;

/// Where the configuration is unless somebody says otherwise.
pub(super) const DEFAULT_PATH: &str = "/etc/backstop/config.toml";
/// Where the engine's internal authority is unless the configuration says otherwise.
const INTERNAL_CA: &str = "engine-ca.pem";

/// Where a password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PasswordSource {
    /// In a file.
    File(PathBuf),
    /// To be read from an open descriptor.
    Descriptor(u32),
    /// In the credential of that name that systemd hands to the service.
    Credential(String),
}

/// The table `[engine]`.
#[derive(Debug)]
pub(super) struct EngineConfig {
    pub(super) url: EngineUrl,
    pub(super) user: String,
    pub(super) password: PasswordSource,
    /// Who signed the certificate of the API, where that is not the internal authority.
    pub(super) ca: Option<PathBuf>,
    /// The file of the engine's internal authority.
    pub(super) internal_ca: PathBuf,
    pub(super) way: Way,
    pub(super) addresses: AddressMap,
    /// Names of places, for people.
    pub(super) sites: Option<Sites>,
}

impl EngineConfig {
    /// Who must have signed the certificate of the API.
    pub(super) fn api_anchor(&self) -> Anchor {
        self.ca.as_ref().map_or_else(|| self.internal_anchor(), |ca| Anchor::File(ca.clone()))
    }

    /// Who must have signed those of hosts and of the proxy.
    pub(super) fn internal_anchor(&self) -> Anchor {
        Anchor::File(self.internal_ca.clone())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    engine: Option<EngineTable>,
    sites: Option<SitesTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SitesTable {
    engine: Option<String>,
    repository: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EngineTable {
    url: String,
    user: String,
    password_file: Option<PathBuf>,
    password_fd: Option<u32>,
    password_credential: Option<String>,
    ca: Option<PathBuf>,
    internal_ca: Option<PathBuf>,
    #[serde(default)]
    transfer: TransferWord,
    #[serde(default)]
    host_addresses: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TransferWord {
    #[default]
    Auto,
    Direct,
    Proxy,
}

/// Reads what the file says about the engine.
pub(super) fn read_engine(path: &Path) -> Result<EngineConfig> {
    let path = &std::path::absolute(path).context("cannot find the configuration", path)?;
    let text = fs::read_to_string(path).context("cannot read the configuration", path);
    let advice =
        "write one, or name it with --config or BACKSTOP_CONFIG; docs/engine.md has a sample";
    let text = text.map_err(Failure::from).advise(ErrorKind::NotFound, advice)?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    let parsed = parse_engine(&text, dir).map_err(|error| Failure::from(error.at(path)));
    parsed.advise(ErrorKind::Invalid, "docs/engine.md explains every key and has a sample")
}

/// Paths in `text` that are not absolute are below `dir`.
fn parse_engine(text: &str, dir: &Path) -> crate::error::Result<EngineConfig> {
    let file: ConfigFile = toml::from_str(text).map_err(|error| unread(&error, text))?;
    let invalid = |what: &'static str| Error::new(ErrorKind::Invalid, what);
    let table = file.engine.ok_or_else(|| invalid("the configuration has no table [engine]"))?;
    let password = match (table.password_file, table.password_fd, table.password_credential) {
        (Some(file), None, None) => PasswordSource::File(dir.join(file)),
        (None, Some(number), None) => PasswordSource::Descriptor(number),
        (None, None, Some(name)) => PasswordSource::Credential(name),
        _ => {
            let what = "the table [engine] needs exactly one of password_file, password_fd and \
                        password_credential";
            return Err(invalid(what));
        }
    };
    if !table.user.contains('@') {
        return Err(invalid("`user` needs its profile, as in backup@internal"));
    }
    let addresses = table.host_addresses.iter().map(|(known, real)| (&**known, &**real));
    Ok(EngineConfig {
        url: EngineUrl::parse(&table.url)?,
        user: table.user,
        password,
        ca: table.ca.map(|ca| dir.join(ca)),
        internal_ca: dir.join(table.internal_ca.unwrap_or_else(|| INTERNAL_CA.into())),
        way: match table.transfer {
            TransferWord::Auto => Way::Auto,
            TransferWord::Direct => Way::Direct,
            TransferWord::Proxy => Way::Proxy,
        },
        addresses: AddressMap::parse(addresses)?,
        sites: file.sites.map(|SitesTable { engine, repository }| Sites { engine, repository }),
    })
}

/// The library's message only where it names keys; others repeat values.
fn unread(error: &toml::de::Error, text: &str) -> Error {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.lines().count().max(1) + usize::from(before.ends_with('\n'));
    let names_keys = ["unknown field", "missing field", "duplicate"];
    let what = match names_keys.iter().any(|start| error.message().starts_with(start)) {
        true => format!("the configuration does not read, near line {line}: {}", error.message()),
        false => format!("the configuration does not read, near line {line}"),
    };
    Error::new(ErrorKind::Invalid, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "[engine]\nurl = \"https://engine.example.test\"\nuser = \"b@internal\"\n";

    fn parse(more: &str) -> crate::error::Result<EngineConfig> {
        parse_engine(&format!("{BASE}{more}"), Path::new("/etc/backstop"))
    }

    #[test]
    fn the_least_that_can_be_said_is_enough() {
        let config = parse("password_file = \"engine.password\"\n").unwrap();
        assert_eq!(config.password, PasswordSource::File("/etc/backstop/engine.password".into()));
        assert_eq!(config.internal_ca, Path::new("/etc/backstop/engine-ca.pem"));
        assert_eq!(config.api_anchor(), config.internal_anchor());
        assert_eq!(config.way, Way::Auto);
    }

    #[test]
    fn the_sample_of_the_page_reads() {
        let page = include_str!("../../docs/engine.md");
        let (_, sample) = page.split_once("```toml\n").unwrap();
        let (sample, _) = sample.split_once("```").unwrap();
        let config = parse_engine(sample, Path::new("/etc/backstop")).unwrap();
        assert_eq!(config.url.to_string(), "https://engine.example.test");
        assert_ne!(config.addresses, AddressMap::default());
    }

    #[test]
    fn every_key_is_on_the_page() {
        let page = include_str!("../../docs/engine.md");
        let message = parse("nonsense = 1").unwrap_err().to_string();
        let (_, keys) = message.split_once("expected one of").unwrap();
        for key in keys.split('`').skip(1).step_by(2) {
            assert!(page.contains(&format!("| `{key}` |")), "{key}");
        }
    }

    #[test]
    fn a_password_comes_from_exactly_one_place() {
        assert!(parse("").is_err());
        assert!(parse("password_fd = 3\npassword_file = \"p\"\n").is_err());
        assert_eq!(parse("password_fd = 3\n").unwrap().password, PasswordSource::Descriptor(3));
        let credential = parse("password_credential = \"engine\"\n").unwrap().password;
        assert_eq!(credential, PasswordSource::Credential("engine".to_owned()));
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_without_values() {
        for (more, line) in [
            ("password = \"canary\"\n", 4),
            ("password_fd = \"canary\"\n", 4),
            ("ca = \"x\"\npassword_file = canary\n", 5),
            ("transfer = \"canary\"\n", 4),
            ("password_fd = \"canary\n", 4),
        ] {
            let error = parse(more).unwrap_err();
            assert!(!error.chain().contains("canary"), "{error}");
            assert!(error.to_string().contains(&format!("line {line}")), "{more}: {error}");
        }
        assert!(parse("password = \"canary\"").unwrap_err().to_string().contains("`password`"));
    }

    #[test]
    fn a_user_without_a_profile_is_refused() {
        let text = BASE.replace("b@internal", "b") + "password_fd = 3\n";
        assert!(parse_engine(&text, Path::new("/")).is_err());
    }
}
