//! What a caller accepts (RFC 9110 §12.5.1).

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::problem::ApiProblem;

/// Media types of answers.
pub(super) const JSON: &str = "application/json";
/// See [`JSON`].
pub(super) const CSV: &str = "text/csv";

/// The routes that answer in CSV as well.
const CSV_ROUTES: [&str; 2] = ["/api/v1/nodes", "/api/v1/users/{name}/usage/series"];
/// Below it everything answers in JSON.
const JSON_ROUTES: &str = "/api/";

/// Answers 406 where nothing that a route can give is accepted.
pub(super) async fn negotiate(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("", MatchedPath::as_str);
    // A removal has nothing to tell.
    let answers = route.starts_with(JSON_ROUTES) && request.method() != Method::DELETE;
    let headers = request.headers();
    let is_fine =
        quality(headers, JSON) > 0 || (CSV_ROUTES.contains(&route) && quality(headers, CSV) > 0);
    if answers && !is_fine {
        let detail = format!("this route answers in {JSON}, which Accept excludes");
        return ApiProblem::new(StatusCode::NOT_ACCEPTABLE, detail).into_response();
    }
    next.run(request).await
}

/// Whether the caller would rather have CSV than JSON.
pub(super) fn prefers_csv(headers: &HeaderMap) -> bool {
    quality(headers, CSV) > quality(headers, JSON)
}

/// How welcome a media type is, 0 (not at all) to 1000.
fn quality(headers: &HeaderMap, media_type: &str) -> u16 {
    let lines = headers.get_all(header::ACCEPT).iter();
    let ranges = lines.flat_map(|line| line.to_str().unwrap_or_default().split(','));
    let ranges = ranges.map(str::trim).filter(|range| !range.is_empty());
    let mut is_silent = true;
    // The most specific range that fits counts.
    let mut best = (0, 0);
    for range in ranges {
        is_silent = false;
        let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
        if let Some(specificity) = specificity(name.trim(), media_type) {
            best = best.max((specificity, weight(parameters)));
        }
    }
    if is_silent { 1000 } else { best.1 }
}

fn specificity(range: &str, media_type: &str) -> Option<u8> {
    let (kind, _) = media_type.split_once('/')?;
    let of_kind = range
        .strip_suffix("/*")
        .is_some_and(|range| range.eq_ignore_ascii_case(kind));
    match range {
        "*/*" => Some(1),
        _ if of_kind => Some(2),
        _ => range.eq_ignore_ascii_case(media_type).then_some(3),
    }
}

/// The parameter `q`, in thousandths; what is no number is taken for the default.
fn weight(parameters: &str) -> u16 {
    let q = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let thousandths = |q: &str| {
        let (whole, part) = q.split_once('.').unwrap_or((q, ""));
        let digits = format!("{part:0<3}");
        let part: u16 = digits.get(..3)?.parse().ok()?;
        Some(whole.parse::<u16>().ok()?.min(1) * 1000 + part)
    };
    q.and_then(thousandths)
        .map_or(1000, |weight| weight.min(1000))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(accept: &'static str, media_type: &str) -> u16 {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
        quality(&headers, media_type)
    }

    #[test]
    fn the_most_specific_range_counts() {
        assert_eq!(quality(&HeaderMap::new(), JSON), 1000);
        assert_eq!(of("", JSON), 1000);
        assert_eq!(of("*/*", JSON), 1000);
        assert_eq!(of("text/html, application/*;q=0.25", JSON), 250);
        assert_eq!(of("*/*;q=0.1, Application/JSON;Q=0.125", JSON), 125);
        assert_eq!(of("application/json;q=0, */*", JSON), 0);
        assert_eq!(of("text/html", JSON), 0);
        assert_eq!(of("application/jsonp, app/json", JSON), 0);
    }

    #[test]
    fn what_is_no_weight_is_taken_for_none() {
        for odd in ["*/*;q=x", "*/*;q=", "*/*;q=7", "*/*;q=0.é", "*/*;a=b"] {
            let headers = HeaderMap::from_iter([(
                header::ACCEPT,
                HeaderValue::from_bytes(odd.as_bytes()).expect("a value"),
            )]);
            // What is not ASCII is no range at all, and so no wish.
            assert_eq!(quality(&headers, JSON), 1000, "{odd}");
        }
    }

    #[test]
    fn csv_must_be_asked_for() {
        let prefers = |accept| {
            prefers_csv(&HeaderMap::from_iter([(
                header::ACCEPT,
                HeaderValue::from_static(accept),
            )]))
        };
        assert!(prefers("text/csv"));
        assert!(prefers("text/csv, application/json;q=0.5"));
        assert!(!prefers("text/csv, application/json"));
        assert!(!prefers("*/*"));
        assert!(!prefers_csv(&HeaderMap::new()));
    }
}
