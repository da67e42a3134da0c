//! Enrolment keys, for operators.

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use titan_proto::control::{EnrolmentKey, EnrolmentKeyCreate, EnrolmentKeyCreated, Page};

use super::{
    App,
    auth::{Admin, ChangeNodes, ReadNodes},
    extract::{self, PageQuery, Path, Query, paginate},
    problem::ApiProblem,
};
use crate::{identity, store};

/// Lists enrolment keys, without their secrets.
#[utoipa::path(
    get, path = "/api/v1/enrolment-keys", tag = "enrolment keys", security(("admin" = ["read", "nodes", "all"])),
    params(PageQuery),
    responses((status = 200, description = "A page of keys.", body = Page<EnrolmentKey>))
)]
pub(super) async fn list_enrolment_keys(
    State(app): State<App>,
    _: Admin<ReadNodes>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<EnrolmentKey>>, ApiProblem> {
    let limit = query.limit()?;
    let after = query.after::<String>()?;
    let keys = app
        .store
        .list_enrolment_keys(after.as_deref(), limit + 1)
        .await?;
    let (keys, next) = paginate(keys, limit, |key| key.id.clone());
    Ok(Json(Page {
        items: keys.into_iter().map(view).collect(),
        next,
    }))
}

/// Makes an enrolment key. The secret is in the answer this once.
#[utoipa::path(
    post, path = "/api/v1/enrolment-keys", tag = "enrolment keys", security(("admin" = ["nodes", "all"])),
    request_body = EnrolmentKeyCreate,
    responses((status = 201, description = "The key.", body = EnrolmentKeyCreated))
)]
pub(super) async fn create_enrolment_key(
    State(app): State<App>,
    _: Admin<ChangeNodes>,
    extract::Json(request): extract::Json<EnrolmentKeyCreate>,
) -> Result<impl IntoResponse, ApiProblem> {
    let (key, secret) = identity::make_enrolment_key(request.region);
    if !app.store.create_enrolment_key(key.clone()).await? {
        // Two random handles met.
        return Err(ApiProblem::try_later(0, "try again"));
    }
    tracing::info!(key = key.id, "enrolment key made");
    Ok((
        StatusCode::CREATED,
        Json(EnrolmentKeyCreated {
            key: view(key),
            secret,
        }),
    ))
}

/// Removes an enrolment key: no node can use it any more, those that did stay.
#[utoipa::path(
    delete, path = "/api/v1/enrolment-keys/{id}", tag = "enrolment keys",
    security(("admin" = ["nodes", "all"])),
    params(("id" = String, Path, description = "The key's public handle.")),
    responses(
        (status = 204, description = "The key is gone."),
        (status = 404, description = "There is no such key."),
    )
)]
pub(super) async fn delete_enrolment_key(
    State(app): State<App>,
    _: Admin<ChangeNodes>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiProblem> {
    if !app.store.delete_enrolment_key(&id).await? {
        return Err(ApiProblem::not_found("there is no such enrolment key"));
    }
    tracing::info!(key = id, "enrolment key removed");
    Ok(StatusCode::NO_CONTENT)
}

fn view(key: store::EnrolmentKey) -> EnrolmentKey {
    EnrolmentKey {
        id: key.id,
        region: key.region,
        created_at: key.created_at.0,
    }
}
