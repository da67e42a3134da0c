//! Blocks, for operators: nodes and networks that get no enrolment, challenge or assignment.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use titan_proto::control::{API_PREFIX, BlockCreate, BlockTarget, BlockView, Page};

use super::{
    App,
    auth::{Admin, ChangeNodes, ReadNodes},
    extract::{self, PageQuery, Path, Query, paginate},
    problem::ApiProblem,
};
use crate::store::{Added, Block, BlockId, UnixTime};

/// Lists blocks.
#[utoipa::path(
    get, path = "/api/v1/blocks", tag = "blocks",
    security(("admin" = ["read", "nodes", "all"])), params(PageQuery),
    responses((status = 200, description = "A page of blocks.", body = Page<BlockView>))
)]
pub(super) async fn list_blocks(
    State(app): State<App>,
    _: Admin<ReadNodes>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<BlockView>>, ApiProblem> {
    let limit = query.limit()?;
    let after = query.after::<String>()?;
    let blocks = app.store.list_blocks(after.as_deref(), limit + 1).await?;
    let (blocks, next) = paginate(blocks, limit, id);
    let items = blocks.into_iter().map(view).collect();
    Ok(Json(Page { items, next }))
}

/// Blocks a node or a network.
#[utoipa::path(
    post, path = "/api/v1/blocks", tag = "blocks", security(("admin" = ["nodes", "all"])),
    request_body = BlockCreate,
    responses(
        (status = 201, description = "The block.", body = BlockView),
        (status = 409, description = "This target is blocked, or there are as many blocks as may be."),
    )
)]
pub(super) async fn create_block(
    State(app): State<App>,
    _: Admin<ChangeNodes>,
    extract::Json(request): extract::Json<BlockCreate>,
) -> Result<impl IntoResponse, ApiProblem> {
    let BlockCreate { target, reason } = request;
    let target = match target {
        // What lies behind the prefix means nothing, and shall not look as if it did.
        BlockTarget::Address(net) => BlockTarget::Address(net.trunc()),
        node @ BlockTarget::Node(_) => node,
    };
    let block = Block {
        target,
        reason,
        created_at: UnixTime::now(),
    };
    let conflict = |detail| Err(ApiProblem::new(StatusCode::CONFLICT, detail));
    match app.store.create_block(block.clone()).await? {
        Added::Done => {}
        Added::Taken => return conflict("this node or network is blocked already"),
        Added::Full => return conflict("there are as many blocks as may be: lift some"),
    }
    let block = view(block);
    tracing::info!(block = block.id, "blocked");
    let location = format!("{API_PREFIX}/blocks/{}", block.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(block),
    ))
}

/// Lifts a block.
#[utoipa::path(
    delete, path = "/api/v1/blocks/{id}", tag = "blocks",
    security(("admin" = ["nodes", "all"])),
    params(("id" = String, Path, description = "The block's handle.")),
    responses(
        (status = 204, description = "The block is gone."),
        (status = 404, description = "There is no such block."),
    )
)]
pub(super) async fn delete_block(
    State(app): State<App>,
    _: Admin<ChangeNodes>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiProblem> {
    if !app.store.delete_block(&id).await? {
        return Err(ApiProblem::not_found("there is no such block"));
    }
    tracing::info!(block = id, "block lifted");
    Ok(StatusCode::NO_CONTENT)
}

fn view(block: Block) -> BlockView {
    BlockView {
        id: id(&block),
        target: block.target,
        reason: block.reason,
        created_at: block.created_at.0,
    }
}

fn id(block: &Block) -> String {
    BlockId::of(&block.target).as_str().to_owned()
}
