//! Where things are: hosts by name or by number, IPv4 and IPv6, and the engine's URL.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::error::{Error, ErrorKind, Result};

/// Longest name that DNS can hold.
const NAME_BYTES_MAX: usize = 253;

/// A host: its name or its address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A name for DNS, in lower case.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

impl Host {
    /// Reads a name or an address; one of IPv6 may stand in brackets.
    pub fn parse(text: &str) -> Result<Self> {
        let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(inside) = bracketed {
            let ip = inside.parse::<Ipv6Addr>().map_err(|_| bad_host(text))?;
            return Ok(Self::Ip(ip.into()));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(ip));
        }
        let is_name_char = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let looks_like_a_number = text.rsplit('.').next().is_some_and(is_number);
        match !text.is_empty() && text.chars().all(is_name_char) && !looks_like_a_number {
            true if text.len() <= NAME_BYTES_MAX => Ok(Self::Name(text.to_ascii_lowercase())),
            _ => Err(bad_host(text)),
        }
    }

    /// The name or address without brackets, as certificates and the resolver know it.
    #[must_use]
    pub fn bare(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Ip(ip) => ip.to_string(),
        }
    }

    /// Whether nothing sent there leaves this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::Ip(ip) => ip.is_loopback(),
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn bad_host(text: &str) -> Error {
    let what = format!("{text:?} is neither a host name nor an address of IPv4 or IPv6");
    Error::new(ErrorKind::Invalid, what)
}

impl fmt::Display for Host {
    /// As URLs write it: an address of IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// A host and a port on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

impl Place {
    /// A port on a host.
    #[must_use]
    pub const fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// Reads `HOST` or `HOST:PORT`. An address of IPv6 with a port needs its brackets.
    pub fn parse(text: &str, default_port: u16) -> Result<Self> {
        let split = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => Some((host, port)),
            _ => None,
        };
        let Some((host, port)) = split else {
            return Ok(Self::new(Host::parse(text)?, default_port));
        };
        let number = port.parse().ok().filter(|number| *number != 0 && is_number(port));
        let number = number.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("{port:?} in {text:?} is no port"))
        })?;
        Ok(Self::new(Host::parse(host)?, number))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Where the engine answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineUrl {
    is_tls: bool,
    place: Place,
}

impl EngineUrl {
    /// Reads `https://HOST[:PORT]`, with or without the `/ovirt-engine/api` behind it.
    ///
    /// Plain `http` is for this machine only: a password goes over no network unprotected.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            let what = format!("the URL of the engine, {:?}, {why}", without_user(text));
            Error::new(ErrorKind::Invalid, what)
        };
        let (is_tls, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => return Err(bad("does not begin with https://")),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(bad("holds a user: name it in the configuration's `user`"));
        }
        if !matches!(path.trim_end_matches('/'), "" | "/ovirt-engine" | "/ovirt-engine/api") {
            return Err(bad("goes on after the host: https://HOST is enough"));
        }
        let place = Place::parse(authority, if is_tls { 443 } else { 80 })?;
        if !is_tls && !place.host.is_loopback() {
            return Err(bad("is not protected: it must begin with https://"));
        }
        Ok(Self { is_tls, place })
    }

    /// The host and port that it leads to.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }
}

/// A URL without what may be a password.
fn without_user(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://...@{host}"),
        _ => text.to_owned(),
    }
}

impl fmt::Display for EngineUrl {
    /// Without a slash at its end, and without the port where that is the usual one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { host, port } = &self.place;
        match (self.is_tls, port) {
            (true, 443) => write!(f, "https://{host}"),
            (false, 80) => write!(f, "http://{host}"),
            (true, port) => write!(f, "https://{host}:{port}"),
            (false, port) => write!(f, "http://{host}:{port}"),
        }
    }
}

/// Other ways to hosts than the ones that the engine knows, for networks behind NAT.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressMap(BTreeMap<Host, String>);

impl AddressMap {
    /// Reads pairs of a host as the engine names it, and a `HOST` or `HOST:PORT` to connect to.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self> {
        let mut map = BTreeMap::new();
        for (known, real) in pairs {
            Place::parse(real, 1)?;
            map.insert(Host::parse(known)?, real.to_owned());
        }
        Ok(Self(map))
    }

    /// Where to connect for `place`. What a certificate must name stays `place.host`.
    #[must_use]
    pub fn route(&self, place: &Place) -> Place {
        let real = self.0.get(&place.host).and_then(|real| Place::parse(real, place.port).ok());
        real.unwrap_or_else(|| place.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_of_both_kinds_are_hosts() {
        for (text, shown) in [
            ("Engine.Example.Test", "engine.example.test"),
            ("192.0.2.7", "192.0.2.7"),
            ("2001:DB8::7", "[2001:db8::7]"),
            ("[2001:db8::7]", "[2001:db8::7]"),
            ("::1", "[::1]"),
        ] {
            assert_eq!(Host::parse(text).unwrap().to_string(), shown);
        }
        for text in ["", "a b", "[192.0.2.7]", "[::1", "::g", "1.2.3", "a/b", "x@y", "é"] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_may_follow_every_kind_of_host() {
        for (text, shown) in [
            ("host1", "host1:54322"),
            ("host1:1", "host1:1"),
            ("192.0.2.7:99", "192.0.2.7:99"),
            ("2001:db8::7", "[2001:db8::7]:54322"),
            ("[2001:db8::7]", "[2001:db8::7]:54322"),
            ("[2001:db8::7]:99", "[2001:db8::7]:99"),
        ] {
            assert_eq!(Place::parse(text, 54322).unwrap().to_string(), shown);
        }
        for text in ["host1:", "host1:0", "host1:65536", "host1:+1", ":5", "[::1]:x"] {
            assert!(Place::parse(text, 54322).is_err(), "{text}");
        }
    }

    #[test]
    fn the_url_of_the_engine_may_be_copied_from_a_browser() {
        for (text, shown) in [
            ("https://engine.example.test", "https://engine.example.test"),
            ("HTTPS://engine.example.test:443/", "https://engine.example.test"),
            ("https://engine.example.test:8443/ovirt-engine/", "https://engine.example.test:8443"),
            ("https://[2001:db8::1]/ovirt-engine/api", "https://[2001:db8::1]"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("http://[::1]:8080/ovirt-engine/api/", "http://[::1]:8080"),
        ] {
            assert_eq!(EngineUrl::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_url_that_leads_elsewhere_or_is_not_protected_is_refused() {
        for text in [
            "engine.example.test",
            "ftp://engine.example.test",
            "http://engine.example.test",
            "https://",
            "https://engine.example.test/other",
            "https://engine.example.test?x=1",
            "https://2001:db8::1:8443x/",
        ] {
            assert!(EngineUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let error = EngineUrl::parse("https://admin:s3cret@engine.example.test").unwrap_err();
        assert!(!error.chain().contains("s3cret"), "{error}");
    }

    #[test]
    fn a_host_behind_nat_is_reached_at_its_other_address() {
        let map = [("host1", "198.51.100.7:15432"), ("2001:db8::2", "192.0.2.2")];
        let map = AddressMap::parse(map).unwrap();
        let route = |text: &str| map.route(&Place::parse(text, 54322).unwrap()).to_string();
        assert_eq!(route("HOST1"), "198.51.100.7:15432");
        assert_eq!(route("[2001:db8::2]"), "192.0.2.2:54322");
        assert_eq!(route("host2"), "host2:54322");
        assert!(AddressMap::parse([("host1", "no host")]).is_err());
    }
}
