//! A tunnel's first second, on whichever shard accepted it: HTTP upgrade, token, hand-over.

use std::{pin::pin, rc::Rc};

use bytes::{Bytes, BytesMut};
use titan_proto::{
    control::{Region, TunnelClaims},
    mux::SUBPROTOCOL,
    ws::upgrade::{self, UpgradeRequest},
};

use super::{Core, TUNNEL_PATH, TokenError, serve};
use crate::{
    limits::{HANDSHAKE_READ, TUNNEL_UPGRADE_BYTES},
    mesh::{Reservation, TunnelMove, Work},
    metrics::TunnelRefusal,
    net::{Accepted, Either, Place, Received, Socket, farewell, race, timeout},
};

/// Upgrades one connection and hands it to the shard that will own it.
pub async fn accept(core: Rc<Core>, accepted: Accepted) {
    let peer = accepted.peer;
    let Some(place) = core.edges.enter(peer.ip()) else {
        return core
            .metrics
            .tunnel_refusals
            .inc(TunnelRefusal::AddressLimit);
    };
    let Ok(socket) = Socket::adopt(accepted.fd) else {
        return core.metrics.tunnel_refusals.inc(TunnelRefusal::Overloaded);
    };
    match upgrade_in_time(&core, &socket, &place).await {
        Ok(Upgraded {
            reservation,
            issued_at_s,
            region,
            early,
        }) => {
            let Ok(fd) = socket.into_fd() else {
                return core.metrics.tunnel_refusals.inc(TunnelRefusal::Overloaded);
            };
            hand_over(
                &core,
                TunnelMove {
                    fd,
                    early,
                    reservation,
                    issued_at_s,
                    region,
                    peer,
                },
            );
        }
        Err(Refused { why, answer }) => {
            core.metrics.tunnel_refusals.inc(why);
            tracing::info!(%peer, ?why, "[DIAG] tunnel refused");
            if let Some(answer) = answer {
                race(pin!(farewell(socket, &answer)), pin!(place.turned_out())).await;
            }
        }
    }
}

/// A tunnel that has been let in.
struct Upgraded {
    reservation: Reservation,
    issued_at_s: u64,
    region: Option<Region>,
    /// What came behind the request.
    early: BytesMut,
}

/// Why there is no tunnel, and what the other end is told.
struct Refused {
    why: TunnelRefusal,
    answer: Option<Bytes>,
}

impl Refused {
    fn silently(why: TunnelRefusal) -> Self {
        Self { why, answer: None }
    }

    fn with(why: TunnelRefusal, status: u16, text: &str) -> Self {
        Self {
            why,
            answer: Some(upgrade::reject_response(status, text)),
        }
    }
}

/// Upgrades while there is time, and a place.
async fn upgrade_in_time(core: &Core, socket: &Socket, place: &Place) -> Result<Upgraded, Refused> {
    let upgrade = pin!(upgrade(core, socket));
    let upgrade = pin!(timeout(core.config.handshake(), upgrade));
    match race(upgrade, pin!(place.turned_out())).await {
        Either::First(Ok(result)) => result,
        Either::First(Err(_)) => Err(Refused::silently(TunnelRefusal::TimedOut)),
        Either::Second(()) => Err(Refused::silently(TunnelRefusal::CrowdedOut)),
    }
}

/// Reads the request, checks it, answers it.
async fn upgrade(core: &Core, socket: &Socket) -> Result<Upgraded, Refused> {
    let mut input = BytesMut::new();
    let request = loop {
        match upgrade::parse_request(&mut input) {
            Ok(Some(request)) => break request,
            Ok(None) if input.len() >= TUNNEL_UPGRADE_BYTES => {
                return Err(Refused::with(
                    TunnelRefusal::BadRequest,
                    431,
                    "request too long",
                ));
            }
            Ok(None) => read_more(socket, &mut input).await?,
            Err(error) => {
                let text = error.to_string();
                return Err(Refused::with(
                    TunnelRefusal::BadRequest,
                    error.status(),
                    &text,
                ));
            }
        }
    };
    let TunnelClaims {
        sub, iat, region, ..
    } = check(core, &request)?;
    if core.banished.borrow().covers(sub, iat) {
        let text = "this node was sent away, ask the manager again";
        return Err(Refused::with(TunnelRefusal::SentAway, 403, text));
    }
    let reservation = core.mesh.reserve_tunnel(sub, core.shard);
    let reservation = reservation.ok_or_else(too_many_tunnels)?;
    let answer = upgrade::accept_response(&request, Some(SUBPROTOCOL));
    match socket.send_all(&answer).await {
        Ok(()) => Ok(Upgraded {
            reservation,
            issued_at_s: iat,
            region,
            early: input,
        }),
        Err(_) => Err(Refused::silently(TunnelRefusal::Gone)),
    }
}

async fn read_more(socket: &Socket, input: &mut BytesMut) -> Result<(), Refused> {
    input.reserve(HANDSHAKE_READ);
    loop {
        match socket.try_recv(input, HANDSHAKE_READ) {
            Ok(Received::Bytes(_)) => return Ok(()),
            Ok(Received::Nothing) if socket.readable().await.is_ok() => {}
            _ => return Err(Refused::silently(TunnelRefusal::Gone)),
        }
    }
}

fn check(core: &Core, request: &UpgradeRequest) -> Result<TunnelClaims, Refused> {
    if core.is_draining() {
        return Err(Refused::with(
            TunnelRefusal::Draining,
            503,
            "this PoP is being drained",
        ));
    }
    let path = request.path.split('?').next().unwrap_or_default();
    if path != TUNNEL_PATH {
        return Err(Refused::with(TunnelRefusal::NotFound, 404, "no such path"));
    }
    if !request.offers(SUBPROTOCOL) {
        return Err(Refused::with(
            TunnelRefusal::Protocol,
            400,
            "titan.v1 is not offered",
        ));
    }
    let Some(authority) = core.authority.borrow().clone() else {
        return Err(Refused::with(
            TunnelRefusal::NoKey,
            503,
            "not ready, try again",
        ));
    };
    let token = request.bearer.as_deref();
    let token = token.ok_or_else(|| Refused::with(TunnelRefusal::Token, 401, "no token"))?;
    authority.verify(token).map_err(|error| {
        let (why, status) = match error {
            TokenError::Invalid(_) => (TunnelRefusal::Token, 401),
            TokenError::OtherPop => (TunnelRefusal::OtherPop, 403),
        };
        Refused::with(why, status, &error.to_string())
    })
}

fn too_many_tunnels() -> Refused {
    let text = "this node has as many tunnels as it may";
    Refused::with(TunnelRefusal::TooMany, 429, text)
}

/// Gives the tunnel to the shard on which it has its reservation.
fn hand_over(core: &Rc<Core>, tunnel: TunnelMove) {
    let owner = tunnel.reservation.shard();
    let placed = if owner == core.shard {
        serve(core, tunnel).is_ok()
    } else {
        core.metrics.tunnel_handovers.inc();
        core.mesh.send_work(owner, Work::Tunnel(tunnel)).is_ok()
    };
    if !placed {
        core.metrics.tunnel_refusals.inc(TunnelRefusal::Overloaded);
    }
}
