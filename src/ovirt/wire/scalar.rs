//! Numbers, truths and times in all the ways in which engines write them.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

use crate::base::clock::UtcTime;

/// A value that may be written as itself or as a string. What it was is never repeated in errors.
#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Truth(bool),
    Whole(u64),
    Signed(i64),
    Text(String),
}

/// `true`, `"true"`.
pub(super) fn truth<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    match Option::<Loose>::deserialize(from)? {
        None => Ok(None),
        Some(Loose::Truth(truth)) => Ok(Some(truth)),
        Some(Loose::Text(text)) if text == "true" => Ok(Some(true)),
        Some(Loose::Text(text)) if text == "false" => Ok(Some(false)),
        Some(_) => Err(D::Error::custom("neither true nor false")),
    }
}

/// `7`, `"7"`.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let number = match Option::<Loose>::deserialize(from)? {
        None => return Ok(None),
        Some(Loose::Whole(number)) => Some(number),
        Some(Loose::Text(text)) => text.parse().ok(),
        Some(_) => None,
    };
    number.map(Some).ok_or_else(|| D::Error::custom("no whole number"))
}

/// Milliseconds since 1970, as a number or a string. A time decides nothing: what does not read
/// is none.
pub(super) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<UtcTime>, D::Error> {
    let millis = match Option::<Loose>::deserialize(from)? {
        Some(Loose::Whole(millis)) => i64::try_from(millis).ok(),
        Some(Loose::Signed(millis)) => Some(millis),
        Some(Loose::Text(text)) => text.parse().ok(),
        _ => None,
    };
    Ok(millis.and_then(|millis| UtcTime::from_unix_seconds(millis.div_euclid(1000))))
}

/// Whether a text has anything but white space; the text itself is not kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct HasText(pub bool);

impl<'de> Deserialize<'de> for HasText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = HasText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<HasText, E> {
        Ok(HasText(!text.trim().is_empty()))
    }

    fn visit_unit<E: Error>(self) -> Result<HasText, E> {
        Ok(HasText(false))
    }
}

/// A URL with a ticket in it: whoever knows it may read or write the disk. It is shown without.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct TicketUrl(String);

impl TicketUrl {
    /// The whole URL, for whoever sends a request to it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for TicketUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Display for TicketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once("://") {
            Some((scheme, rest)) => {
                write!(f, "{scheme}://{}/...", rest.split('/').next().unwrap_or_default())
            }
            None => f.write_str("..."),
        }
    }
}

impl fmt::Debug for TicketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct All {
        #[serde(default, deserialize_with = "truth")]
        truth: Option<bool>,
        #[serde(default, deserialize_with = "number")]
        number: Option<u64>,
        #[serde(default, deserialize_with = "time")]
        time: Option<UtcTime>,
        #[serde(default)]
        text: HasText,
    }

    fn read(text: &str) -> Result<All, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn values_are_read_from_strings_and_from_themselves() {
        let time = UtcTime::from_unix_seconds(1_767_225_600);
        let all = All { truth: Some(true), number: Some(1 << 30), time, text: HasText(true) };
        for text in [
            r#"{"truth":"true","number":"1073741824","time":1767225600123,"text":"\n x"}"#,
            r#"{"truth":true,"number":1073741824,"time":"1767225600999","text":"y"}"#,
        ] {
            assert_eq!(read(text).unwrap(), all);
        }
    }

    #[test]
    fn missing_values_are_none_and_blank_text_is_no_text() {
        for text in [
            "{}",
            r#"{"text":" \n\t"}"#,
            r#"{"truth":null,"number":null,"time":null,"text":null}"#,
            r#"{"time":"2026-01-01T00:00:00Z"}"#,
        ] {
            assert_eq!(read(text).unwrap(), All::default());
        }
    }

    #[test]
    fn a_value_that_makes_no_sense_is_refused_and_not_repeated() {
        for text in [r#"{"truth":"s3cret"}"#, r#"{"number":"s3cret"}"#, r#"{"number":-1}"#] {
            assert!(!read(text).unwrap_err().to_string().contains("s3cret"));
        }
    }
}
