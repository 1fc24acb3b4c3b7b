//! Durations in Go's format (`90s`, `1h30m`), which Kubernetes users expect.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Maximum length of the text, in bytes.
const MAX_LENGTH: usize = 32;
/// The format that the API server accepts. [`GoDuration`] parses every such text that CEL's
/// `duration()` can represent.
const PATTERN: &str = r"^([0-9]{1,6}(\.[0-9]{1,3})?(h|ms|m|s))+$";
/// Maximum of Go's `time.Duration`, 2^63 - 1 ns, in milliseconds.
const MAX_MILLIS: u128 = (i64::MAX / 1_000_000) as u128;

/// A non-negative duration in milliseconds. Its text is decimal numbers with the units `h`, `m`,
/// `s`, `ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(Duration);

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidDuration(String);

impl fmt::Display for InvalidDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a duration; write it like 90s, 15m, 1h30m or 720h", self.0)
    }
}

impl std::error::Error for InvalidDuration {}

impl GoDuration {
    /// A duration of whole hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self(Duration::from_secs(hours * 3600))
    }

    /// The duration as the standard library's type.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for GoDuration {
    /// Truncates to milliseconds.
    fn from(value: Duration) -> Self {
        let millis = value.as_millis().min(MAX_MILLIS);
        Self(Duration::from_millis(u64::try_from(millis).expect("bounded above by i64::MAX")))
    }
}

impl FromStr for GoDuration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let invalid = || InvalidDuration(text.chars().take(MAX_LENGTH).collect());
        if text.is_empty() || text.len() > MAX_LENGTH {
            return Err(invalid());
        }
        let mut rest = text;
        let mut millis: u128 = 0;
        while !rest.is_empty() {
            let (part, after) = first_part(rest).ok_or_else(invalid)?;
            millis += part;
            rest = after;
        }
        if millis > MAX_MILLIS {
            return Err(invalid());
        }
        Ok(Self(Duration::from_millis(u64::try_from(millis).map_err(|_| invalid())?)))
    }
}

/// Parses the first `number unit` of `text`. Returns it in milliseconds, with the rest of the text.
fn first_part(text: &str) -> Option<(u128, &str)> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(unit_at);
    let unit_len = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at(unit_len);
    let scale: u128 = match unit {
        "h" => 3_600_000,
        "m" => 60_000,
        "s" => 1_000,
        "ms" => 1,
        _ => return None,
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if (1..=3).contains(&fraction.len()) => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    if !(1..=6).contains(&whole.len()) {
        return None;
    }
    let thousandths = format!("{fraction:0<3}").parse::<u128>().ok()?;
    let value = whole.parse::<u128>().ok()? * 1000 + thousandths;
    Some((value * scale / 1000, after))
}

impl fmt::Display for GoDuration {
    /// Writes the shortest text: `90s` becomes `1m30s`, zero becomes `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let parts =
            [(millis / 3_600_000, "h"), (millis / 60_000 % 60, "m"), (millis / 1000 % 60, "s"), (millis % 1000, "ms")];
        for (value, unit) in parts {
            if value > 0 {
                write!(f, "{value}{unit}")?;
            }
        }
        if millis == 0 { f.write_str("0s") } else { Ok(()) }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for GoDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 2, "maxLength": MAX_LENGTH, "pattern": PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("90s", 90_000, "1m30s")]
    #[case("1h30m", 5_400_000, "1h30m")]
    #[case("0s", 0, "0s")]
    #[case("1.5h", 5_400_000, "1h30m")]
    #[case("250ms", 250, "250ms")]
    #[case("720h", 2_592_000_000, "720h")]
    #[case("1m1m", 120_000, "2m")]
    fn parses_go_durations(#[case] text: &str, #[case] millis: u64, #[case] canonical: &str) {
        let value: GoDuration = text.parse().unwrap();
        assert_eq!(value.get(), Duration::from_millis(millis));
        assert_eq!(value.to_string(), canonical);
        assert_eq!(canonical.parse(), Ok(value));
    }

    #[rstest]
    fn rejects_other_texts(
        #[values("", "90", "s", "-1s", "1d", "1h 30m", "1,5h", "1.h", ".5h", "1.2345s", "9999999s", "\u{661}s", "+1s")]
        text: &str,
    ) {
        assert!(text.parse::<GoDuration>().is_err(), "{text:?}");
    }

    #[test]
    fn rejects_durations_beyond_the_maximum_of_go() {
        assert!("999999h999999h999999h".parse::<GoDuration>().is_err());
    }
}
