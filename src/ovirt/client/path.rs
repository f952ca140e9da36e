//! Paths below the API, encoded piece by piece.

use std::fmt;
use std::fmt::Write;

/// A path below `/ovirt-engine/api`, with its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiPath {
    text: String,
    has_query: bool,
}

impl ApiPath {
    /// The path of these pieces, each a whole piece whatever it holds.
    #[must_use]
    pub fn new(pieces: &[&str]) -> Self {
        let mut text = "/ovirt-engine/api".to_owned();
        for piece in pieces {
            text.push('/');
            encode(piece.as_bytes(), &mut text);
        }
        Self { text, has_query: false }
    }

    /// Adds a parameter.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(key);
        self.text.push('=');
        encode(value.as_bytes(), &mut self.text);
        self
    }

    /// As it stands in a request.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ApiPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Appends `bytes` with everything escaped that could mean something in a URL or a form.
pub(super) fn encode(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(*byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_holds_cannot_lead_elsewhere() {
        let path = ApiPath::new(&["vms", "a/../b?c"]).with("search", "name=\"web 1\"&x");
        let expected = "/ovirt-engine/api/vms/a%2F..%2Fb%3Fc?search=name%3D%22web%201%22%26x";
        assert_eq!(path.to_string(), expected);
        assert_eq!(path.with("max", "2").to_string(), format!("{expected}&max=2"));
        assert_eq!(ApiPath::new(&[]).as_str(), "/ovirt-engine/api");
    }
}
