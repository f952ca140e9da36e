//! The URL of an image: where it leads, and the ticket in it, which nobody may see.

use crate::error::{Error, ErrorKind, Result};
use crate::ovirt::address::Place;
use crate::ovirt::check::TRANSFER_PORT;
use crate::ovirt::wire::TicketUrl;

/// The daemon takes request lines up to 4096 bytes.
const PATH_BYTES_MAX: usize = 2048;
/// Ends the path of every image; what follows is the ticket.
const IMAGES: &str = "/images/";

/// Where an image is.
pub(super) struct ImageUrl {
    pub(super) place: Place,
    /// Whoever knows it may read or write the disk.
    path: String,
}

impl ImageUrl {
    /// Reads `https://HOST[:PORT]/images/TICKET`. Errors do not repeat the ticket.
    pub(super) fn parse(url: &TicketUrl) -> Result<Self> {
        let bad = |why: &str| {
            let what = format!("the engine gave a URL of an image ({url}) that {why}");
            Error::new(ErrorKind::Remote, what)
        };
        let rest = url.expose().strip_prefix("https://").ok_or_else(|| bad("is not https"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let ticket = path.strip_prefix(IMAGES).unwrap_or_default();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
        if ticket.is_empty() || path.len() > PATH_BYTES_MAX || !ticket.bytes().all(is_plain) {
            return Err(bad("names no image"));
        }
        let place = Place::parse(authority, TRANSFER_PORT).map_err(|_| bad("names no host"))?;
        Ok(Self { place, path: path.to_owned() })
    }

    /// What a request asks for.
    pub(super) fn target(&self, rest: &str) -> String {
        format!("{}{rest}", self.path)
    }

    /// `text` without the ticket, if it repeats it.
    pub(super) fn redact(&self, text: &str) -> String {
        let ticket = self.path.strip_prefix(IMAGES).unwrap_or(&self.path);
        text.replace(ticket, "...")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<ImageUrl> {
        ImageUrl::parse(&TicketUrl::from(url.to_owned()))
    }

    #[test]
    fn hosts_of_all_kinds_are_read_and_the_ticket_stays_inside() {
        for (url, place) in [
            ("https://host1.example.test:54322/images/k-1", "host1.example.test:54322"),
            ("https://[2001:db8::1]:54323/images/k-1", "[2001:db8::1]:54323"),
            ("https://192.0.2.1/images/k-1", "192.0.2.1:54322"),
        ] {
            let url = parse(url).unwrap();
            assert_eq!(url.place.to_string(), place);
            assert_eq!(url.target("/extents"), "/images/k-1/extents");
            assert_eq!(url.redact("No such ticket k-1!"), "No such ticket ...!");
        }
    }

    #[test]
    fn other_urls_are_refused_without_repeating_the_ticket() {
        for url in [
            "",
            "http://h/images/canary",
            "https://h/canary",
            "https://h/images/",
            "https:///images/canary",
            "https://h:0/images/canary",
            "https://h/images/canary HTTP/1.1\r\nx: y",
            "https://h/images/canary/../x",
            "https://h/images/canary?x",
        ] {
            let error = parse(url).err().unwrap();
            assert!(!error.chain().contains("canary"), "{error}");
        }
    }
}
