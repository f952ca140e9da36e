//! Sizes as people write and read them: IEC units, powers of 1024.

use std::fmt;

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Displays a number of bytes with one decimal place: `1.5 GiB`, `32 MiB`, `512 B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&text(self.0))
    }
}

/// Displays how fast something went: `250 MiB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// How much was done.
    pub(super) bytes: u64,
    /// How long it took, in milliseconds. Less than one counts as one.
    pub(super) millis: u64,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = u128::from(self.bytes) * 1000 / u128::from(self.millis.max(1));
        write!(f, "{}/s", Size(u64::try_from(per_second).unwrap_or(u64::MAX)))
    }
}

fn text(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit_bytes = 1024_u128;
    for (place, unit) in UNITS.iter().enumerate() {
        // Rounded to tenths, half up; in integers, so that no size is ever shown too exactly.
        let tenths = (u128::from(bytes) * 20 + unit_bytes) / (unit_bytes * 2);
        if tenths < 10_240 || place == UNITS.len() - 1 {
            return match tenths % 10 {
                0 => format!("{} {unit}", tenths / 10),
                tenth => format!("{}.{tenth} {unit}", tenths / 10),
            };
        }
        unit_bytes *= 1024;
    }
    unreachable!("the last unit takes every size")
}

/// Reads `262144`, `256MiB`, `256 M`, `1.5 GiB`. The letter alone means the IEC unit too.
pub(super) fn parse(typed: &str) -> Result<u64, String> {
    let error = || format!("{typed:?} is no size: write it like 512MiB, 1.5GiB or 1048576");
    let typed = typed.trim();
    let number_len = typed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(typed.len());
    let (number, unit) = typed.split_at(number_len);
    let unit_bytes = unit_bytes(unit.trim_start()).ok_or_else(error)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u128 = whole.parse().map_err(|_| error())?;
    // More digits than these say nothing about a number of bytes.
    if fraction.is_empty() || fraction.len() > 12 || fraction.contains('.') {
        return Err(error());
    }
    let scale = 10_u128.pow(fraction.len() as u32);
    let fraction: u128 = fraction.parse().map_err(|_| error())?;
    let bytes = whole.checked_mul(unit_bytes).map(|all| all + fraction * unit_bytes / scale);
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(error)
}

fn unit_bytes(unit: &str) -> Option<u128> {
    if unit.is_empty() || unit.eq_ignore_ascii_case("b") {
        return Some(1);
    }
    let is_unit =
        |name: &&str| unit.eq_ignore_ascii_case(name) || unit.eq_ignore_ascii_case(&name[..1]);
    let place = UNITS.iter().position(is_unit)?;
    Some(1 << (10 * (place + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_shown_in_the_largest_unit_that_it_fills() {
        let shown = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1 MiB"),
            (32 << 20, "32 MiB"),
            ((1 << 30) + (1 << 29), "1.5 GiB"),
            (64 << 40, "64 TiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (bytes, text) in shown {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn a_rate_is_a_size_by_the_second() {
        assert_eq!(Rate { bytes: 500 << 20, millis: 2000 }.to_string(), "250 MiB/s");
        assert_eq!(Rate { bytes: 1, millis: 0 }.to_string(), "1000 B/s");
    }

    #[test]
    fn a_size_is_read_with_and_without_unit_and_fraction() {
        let read = [
            ("0", 0),
            ("1048576", 1 << 20),
            ("256MiB", 256 << 20),
            ("256 mib", 256 << 20),
            ("64k", 64 << 10),
            ("1.5 GiB", 3 << 29),
            ("2T", 2 << 40),
            ("7 B", 7),
        ];
        for (text, bytes) in read {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in ["", "MiB", "-1", "1.", ".5", "1.2.3", "5 MB", "5 parsecs", "17 EiB", "1e9"] {
            assert!(parse(text).unwrap_err().contains("1.5GiB"), "{text}");
        }
    }

    #[test]
    fn every_shown_size_can_be_typed() {
        for bytes in [0, 512, 1 << 10, 3 << 29, 64 << 40] {
            assert_eq!(parse(&Size(bytes).to_string()), Ok(bytes));
        }
    }
}
