//! Time as an argument. No safety decision reads it: times label restore points, nothing more.

use std::fmt;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// Where the present comes from.
pub trait Clock: Send + Sync {
    /// The present, to the second.
    fn now(&self) -> UtcTime;

    /// Lets time pass, for whoever looks at something again and again.
    fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }
}

/// The clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> UtcTime {
        UtcTime::from_unix_seconds(Timestamp::now().as_second()).unwrap_or(UtcTime::EPOCH)
    }
}

/// A moment in UTC, to the second, in the years that four digits can write.
///
/// Displays as `2026-11-23T013000Z`, which is fit for file names; [`UtcTime::rfc3339`] is for JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UtcTime(Timestamp);

impl UtcTime {
    /// The beginning of 1970.
    pub const EPOCH: Self = Self(Timestamp::UNIX_EPOCH);

    /// The moment that many seconds after the epoch; none outside the years 0 to 9999.
    #[must_use]
    pub fn from_unix_seconds(seconds: i64) -> Option<Self> {
        let time = Timestamp::from_second(seconds).ok()?;
        (time.to_zoned(TimeZone::UTC).year() >= 0).then_some(Self(time))
    }

    /// Seconds since the epoch.
    #[must_use]
    pub fn unix_seconds(self) -> i64 {
        self.0.as_second()
    }

    /// The moment as RFC 3339 writes it: `2026-11-23T01:30:00Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        self.0.to_string()
    }

    /// Reads RFC 3339 in UTC, to the second.
    pub fn from_rfc3339(text: &str) -> Result<Self, ParseTimeError> {
        let time: Timestamp = text.parse().map_err(|_| ParseTimeError)?;
        match Self::from_unix_seconds(time.as_second()) {
            Some(whole) if whole.rfc3339() == text => Ok(whole),
            _ => Err(ParseTimeError),
        }
    }
}

impl TryFrom<String> for UtcTime {
    type Error = ParseTimeError;

    fn try_from(text: String) -> Result<Self, ParseTimeError> {
        Self::from_rfc3339(&text)
    }
}

impl From<UtcTime> for String {
    fn from(time: UtcTime) -> Self {
        time.rfc3339()
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.0.to_zoned(TimeZone::UTC);
        let (year, month, day) = (t.year(), t.month(), t.day());
        let (hour, minute, second) = (t.hour(), t.minute(), t.second());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

/// The text is not a time of the form `2026-11-23T013000Z` (or `2026-11-23T01:30:00Z` in JSON).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseTimeError;

impl fmt::Display for ParseTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time of the form 2026-11-23T013000Z")
    }
}

impl std::error::Error for ParseTimeError {}

impl FromStr for UtcTime {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        let civil = DateTime::strptime("%Y-%m-%dT%H%M%SZ", text).map_err(|_| ParseTimeError)?;
        let zoned = civil.to_zoned(TimeZone::UTC).map_err(|_| ParseTimeError)?;
        match Self::from_unix_seconds(zoned.timestamp().as_second()) {
            Some(time) if time.to_string() == text => Ok(time),
            _ => Err(ParseTimeError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_time_read_back() {
        let time = UtcTime::from_unix_seconds(1_795_397_400).unwrap();
        assert_eq!(time.to_string(), "2026-11-23T013000Z");
        assert_eq!(time.rfc3339(), "2026-11-23T01:30:00Z");
        assert_eq!(time.to_string().parse(), Ok(time));
        assert_eq!(UtcTime::from_rfc3339(&time.rfc3339()), Ok(time));
    }

    #[test]
    fn other_spellings_of_a_time_are_refused() {
        for text in ["", "2026-11-23T13000Z", "2026-13-23T013000Z", "2026-11-23T013000"] {
            assert_eq!(text.parse::<UtcTime>(), Err(ParseTimeError), "{text}");
        }
        for text in ["2026-11-23T01:30:00.5Z", "2026-11-23T01:30:00+01:00"] {
            assert_eq!(UtcTime::from_rfc3339(text), Err(ParseTimeError), "{text}");
        }
    }
}
