//! Time zones: in which hour, day, week, month and year of people's calendars a moment lies.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::clock::UtcTime;

/// A time zone of the IANA database, or UTC. Displays as its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A stretch of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// An hour of the clock. The hour that comes twice when summer time ends is one.
    Hour,
    /// A day.
    Day,
    /// A week as ISO 8601 counts them, from Monday on.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Zone {
    /// Coordinated universal time, which needs no database.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// The name of the period in which `time` lies: `2026-11-23T01`, `2026-11-23`, `2026-W48`,
    /// `2026-11` or `2026`. Equal names are the same period.
    #[must_use]
    pub fn period(&self, time: UtcTime, period: Period) -> String {
        // Any time that can be written is in the range of timestamps.
        let timestamp = Timestamp::from_second(time.unix_seconds()).unwrap_or_default();
        let civil = timestamp.to_zoned(self.0.clone()).datetime();
        let (year, month, day) = (civil.year(), civil.month(), civil.day());
        match period {
            Period::Hour => format!("{year:04}-{month:02}-{day:02}T{:02}", civil.hour()),
            Period::Day => format!("{year:04}-{month:02}-{day:02}"),
            Period::Week => {
                let week = civil.date().iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            Period::Month => format!("{year:04}-{month:02}"),
            Period::Year => format!("{year:04}"),
        }
    }
}

impl Period {
    /// All of them, the shortest first.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

/// The text names no time zone that this machine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseZoneError;

impl fmt::Display for ParseZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a time zone that this machine knows, such as UTC or Europe/Berlin")
    }
}

impl std::error::Error for ParseZoneError {}

impl FromStr for Zone {
    type Err = ParseZoneError;

    fn from_str(text: &str) -> Result<Self, ParseZoneError> {
        match text {
            "UTC" => Ok(Self::UTC),
            _ => TimeZone::get(text).map(Self).map_err(|_| ParseZoneError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(zone: &Zone, time: &str) -> [String; 5] {
        let time = UtcTime::from_rfc3339(time).unwrap();
        Period::ALL.map(|period| zone.period(time, period))
    }

    #[test]
    fn a_moment_lies_in_the_periods_of_the_zone() {
        let utc = names(&Zone::UTC, "2026-12-31T23:30:00Z");
        assert_eq!(utc, ["2026-12-31T23", "2026-12-31", "2026-W53", "2026-12", "2026"]);
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        let berlin_names = names(&berlin, "2026-12-31T23:30:00Z");
        assert_eq!(berlin_names, ["2027-01-01T00", "2027-01-01", "2026-W53", "2027-01", "2027"]);
        assert_eq!(berlin.to_string(), "Europe/Berlin");
        assert_eq!(Zone::UTC.to_string(), "UTC");
        assert!("Middle/Earth".parse::<Zone>().is_err());
    }

    #[test]
    fn the_hour_that_summer_time_repeats_is_one() {
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        let before = names(&berlin, "2026-10-25T00:30:00Z");
        let after = names(&berlin, "2026-10-25T01:30:00Z");
        assert_eq!(before[0], "2026-10-25T02");
        assert_eq!(before, after);
    }
}
