//! Durations as people write them: a whole number and a unit.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Reads `90s`, `15m`, `2h`, `7d`, `4w`, `1y`. A day has 24 hours, a year 365 days.
pub(super) fn parse(typed: &str) -> Result<Duration, String> {
    let error = || format!("{typed:?} is no duration: write it like 90s, 15m, 2h, 7d, 4w or 1y");
    let unit = typed.chars().next_back().ok_or_else(error)?;
    let seconds = match unit {
        's' => 1,
        'm' => MINUTE,
        'h' => HOUR,
        'd' => DAY,
        'w' => 7 * DAY,
        'y' => 365 * DAY,
        _ => return Err(error()),
    };
    let number = &typed[..typed.len() - unit.len_utf8()];
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: Option<u64> = number.parse().ok().filter(|_| is_number);
    let seconds = number.and_then(|number| number.checked_mul(seconds)).ok_or_else(error)?;
    Ok(Duration::from_secs(seconds))
}

/// A duration in the largest unit that tells it exactly: `30d`, `36h`.
pub(super) fn text(seconds: u64) -> String {
    let units = [(7 * DAY, "w"), (DAY, "d"), (HOUR, "h"), (MINUTE, "m")];
    let fits = units.iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    let (unit, name) = fits.copied().unwrap_or((1, "s"));
    format!("{}{name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_with_its_unit() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("15m", 900), ("2h", 7200), ("1w", 604_800)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)));
        }
        assert_eq!([0, 90, 129_600, 604_800].map(super::text), ["0s", "90s", "36h", "1w"]);
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in ["", "5", "m", "-1h", "+1h", "1.5h", "5 m", "5min", "1é", "99999999999999999w"]
        {
            assert!(parse(text).unwrap_err().contains("15m"), "{text}");
        }
    }
}
