//! What operators write on the command line for sizes, times and limits.

use std::{
    net::IpAddr,
    num::NonZeroU64,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytesize::ByteSize;
use ipnet::IpNet;
use titan_proto::control::{BlockTarget, LabelName, NodeId, Note};

/// A value, or `none` for the wish that there be none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OrNone<T>(pub(crate) Option<T>);

impl<T: FromStr> FromStr for OrNone<T> {
    type Err = T::Err;
    fn from_str(text: &str) -> Result<Self, T::Err> {
        match text {
            "none" => Ok(Self(None)),
            _ => text.parse().map(Some).map(Self),
        }
    }
}

/// A number of bytes: `10GB`, `512MiB`, `1000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) NonZeroU64);

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let size = ByteSize::from_str(text)?.as_u64();
        let size = NonZeroU64::new(size).ok_or("must be at least one byte")?;
        Ok(Self(size))
    }
}

/// A point in time, in seconds since the Unix epoch: a day (`2027-01-31`), a time
/// (`2027-01-31T12:00:00Z`), or so long from now (`+30days`). All in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) u64);

impl FromStr for Time {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let time = match text.strip_prefix('+') {
            Some(span) => SystemTime::now() + parse_span(span)?,
            None if text.len() == "2027-01-31".len() => parse_time(&format!("{text}T00:00:00Z"))?,
            None => parse_time(text)?,
        };
        let since = time.duration_since(UNIX_EPOCH);
        since
            .map(|since| Self(since.as_secs()))
            .map_err(|_| "lies before 1970".into())
    }
}

/// The longest span from now: a century, so that no sum leaves the range of the clock.
const MAX_SPAN: Duration = Duration::from_secs(100 * 366 * 86_400);

fn parse_span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if span > MAX_SPAN {
        return Err("is more than a century away".into());
    }
    Ok(span)
}

fn parse_time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339_weak(text).map_err(|error| error.to_string())
}

/// `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    /// Before the first equals sign.
    pub(crate) name: LabelName,
    /// All that is behind it.
    pub(crate) value: Note,
}

impl FromStr for Label {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("is not of the form NAME=VALUE")?;
        let words = |error: titan_proto::control::IdError| error.to_string();
        Ok(Self {
            name: name.parse().map_err(words)?,
            value: value.parse().map_err(words)?,
        })
    }
}

/// A node's id, an address, or a network in CIDR notation.
pub(crate) fn parse_target(text: &str) -> Result<BlockTarget, String> {
    if let Ok(node) = text.parse::<NodeId>() {
        return Ok(BlockTarget::Node(node));
    }
    parse_net(text).map(BlockTarget::Address)
}

/// An address, or a network in CIDR notation.
pub(crate) fn parse_net(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| address())
        .map_err(|_| "is neither an address nor a network".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Option<u64> {
        text.parse::<Time>().map(|time| time.0).ok()
    }

    #[test]
    fn a_time_is_a_day_a_moment_or_a_span() {
        assert_eq!(time("1970-01-02"), Some(86_400));
        assert_eq!(time("2000-02-29T00:00:01Z"), Some(951_782_401));
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let tomorrow = time("+1day").expect("a span");
        assert!((now + 86_400..now + 86_460).contains(&tomorrow));
        for bad in [
            "",
            "tomorrow",
            "2027-13-01",
            "+",
            "+5",
            "+999999999years",
            "1969-12-31",
        ] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_size_has_a_unit_or_is_bytes() {
        let size = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0.get()).ok();
        assert_eq!(size("10GB"), Some(10_000_000_000));
        assert_eq!(size("1MiB"), Some(1 << 20));
        assert_eq!(size("7"), Some(7));
        assert_eq!((size("0"), size("-1"), size("many")), (None, None, None));
        assert_eq!("none".parse::<OrNone<Bytes>>(), Ok(OrNone(None)));
    }

    #[test]
    fn a_target_is_a_node_or_a_network() {
        let text = |text| parse_target(text).map(|target| format!("{target:?}"));
        assert_eq!(text("192.0.2.1"), Ok("Address(192.0.2.1/32)".into()));
        assert_eq!(text("2001:db8::/32"), Ok("Address(2001:db8::/32)".into()));
        let node = "0".repeat(32);
        assert_eq!(text(&node), Ok(format!("Node(NodeId({node}))")));
        assert!(text("somebody").is_err());
    }
}
