//! When to try again: the manners of `OpenAI`'s own SDKs (`_base_client.py` of the Python SDK 3.52.0), within our deadline.

use std::time::Duration;

use http::header::{HeaderMap, RETRY_AFTER};
use jiff::fmt::rfc2822;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(8);
/// What an upstream may ask for at most; more is taken for a mistake.
const MOST_ASKED: f64 = 86_400.0;

/// The upstream's own word on whether another attempt makes sense.
pub(super) fn advice(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-should-retry")?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// `retry-after-ms`, else `retry-after` in seconds or as a date.
pub(super) fn retry_after(headers: &HeaderMap, wall: Duration) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(millis) = text("retry-after-ms").and_then(|value| value.parse::<f64>().ok()) {
        return seconds(millis / 1000.0);
    }
    let value = text(RETRY_AFTER.as_str())?;
    if let Ok(number) = value.parse::<f64>() {
        return seconds(number);
    }
    let at = rfc2822::parse(value).ok()?.timestamp().as_second();
    let left = u64::try_from(at).ok()?.saturating_sub(wall.as_secs());
    u32::try_from(left).ok().and_then(|left| seconds(f64::from(left)))
}

fn seconds(number: f64) -> Option<Duration> {
    (number > 0.0 && number <= MOST_ASKED).then(|| Duration::from_secs_f64(number))
}

/// Pause before attempt `attempt + 1`: doubling from half a second, at most 8 s, less up to a quarter at random.
pub(super) fn backoff(attempt: u32) -> Duration {
    let full = FIRST.saturating_mul(1 << (attempt - 1).min(8)).min(LONGEST);
    full.mul_f64(1.0 - 0.25 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderMap, HeaderName, HeaderValue};

    use super::{Duration, advice, backoff, retry_after};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn every_form_of_retry_after_is_read() {
        let wall = Duration::from_secs(1_445_412_470);
        for (pairs, millis) in [
            (vec![("retry-after-ms", "250"), ("retry-after", "9")], Some(250)),
            (vec![("retry-after", "2")], Some(2000)),
            (vec![("retry-after", "0.5")], Some(500)),
            (vec![("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], Some(10_000)),
            (vec![("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT")], None),
            (vec![("retry-after", "0")], None),
            (vec![("retry-after", "-5")], None),
            (vec![("retry-after", "NaN")], None),
            (vec![("retry-after", "inf")], None),
            (vec![("retry-after", "soon")], None),
            (vec![], None),
        ] {
            assert_eq!(retry_after(&headers(&pairs), wall), millis.map(Duration::from_millis), "{pairs:?}");
        }
        assert_eq!(advice(&headers(&[("x-should-retry", "false")])), Some(false));
        assert_eq!(advice(&headers(&[("x-should-retry", "maybe")])), None);
    }

    #[test]
    fn pauses_double_and_are_spread() {
        for (attempt, full) in [(1, 500), (2, 1000), (3, 2000), (5, 8000), (9, 8000), (u32::MAX, 8000)] {
            let pause = u64::try_from(backoff(attempt).as_millis()).unwrap();
            assert!((full * 3 / 4..=full).contains(&pause), "{attempt}: {pause}");
        }
    }
}
