//! Nodes as CSV (RFC 4180), for spreadsheets: all of them, however many, a chunk at a time.

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use titan_proto::control::{NodeId, NodeView};

use super::{App, filters::NodeFilter, negotiate::CSV, nodes::views, problem::ApiProblem};
use crate::limits;

/// Every node that `filter` lets through.
pub(super) fn nodes(app: App, filter: NodeFilter) -> Response {
    let rows = stream::try_unfold(Some(None), move |after: Option<Option<NodeId>>| {
        let (app, filter) = (app.clone(), filter.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            chunk(&app, &filter, after).await.map(Some)
        }
    });
    let head = [
        (header::CONTENT_TYPE, CSV),
        (
            header::CONTENT_DISPOSITION,
            r#"attachment; filename="nodes.csv""#,
        ),
    ];
    (head, Body::from_stream(rows)).into_response()
}

/// The rows of the nodes behind `after`, and how to go on. A fault ends the connection, so that nobody
/// takes a part for the whole.
async fn chunk(
    app: &App,
    filter: &NodeFilter,
    after: Option<NodeId>,
) -> Result<(Bytes, Option<Option<NodeId>>), std::io::Error> {
    let nodes = views(app, after, limits::MAX_PAGE)
        .await
        .map_err(|problem| failed(&problem))?;
    let is_last = nodes.len() < limits::MAX_PAGE;
    let next = nodes.last().filter(|_| !is_last).map(|node| Some(node.id));
    let mut table = csv::Writer::from_writer(Vec::new());
    if after.is_none() {
        table.write_record(HEAD)?;
    }
    for node in nodes.iter().filter(|node| filter.fits(node)) {
        table.write_record(row(node))?;
    }
    let rows = table.into_inner().map_err(|error| error.into_error())?;
    Ok((rows.into(), next))
}

const HEAD: [&str; 7] = [
    "id",
    "online",
    "region",
    "pop",
    "address",
    "version",
    "enrolled_at",
];

fn row(node: &NodeView) -> [String; 7] {
    let text = |value: Option<String>| value.unwrap_or_default();
    [
        node.id.to_string(),
        node.online.to_string(),
        text(node.region.map(|region| region.to_string())),
        text(node.pop.as_ref().map(ToString::to_string)),
        text(node.address.map(|address| address.to_string())),
        inert(&node.version),
        node.enrolled_at.to_string(),
    ]
}

/// A node chooses what it calls its version, and a spreadsheet takes what begins like this for a formula.
fn inert(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@']);
    format!("{}{text}", if is_formula { "'" } else { "" })
}

fn failed(problem: &ApiProblem) -> std::io::Error {
    std::io::Error::other(format!("{problem:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_version_is_a_formula() {
        assert_eq!(inert("=HYPERLINK(1)"), "'=HYPERLINK(1)");
        assert_eq!(inert("1.2.3-beta"), "1.2.3-beta");
    }
}
