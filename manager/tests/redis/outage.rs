//! Redis is killed while users are created.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{process::Manager, servers::Server};

/// How long Redis stays away, and how long users are created before and after.
const AWAY: Duration = Duration::from_secs(2);
const BUSY: Duration = Duration::from_secs(1);
/// Within this a request is refused while Redis is away, on a machine that is busy.
const QUICKLY: Duration = Duration::from_secs(1);
/// Workers that create users at a time.
const WORKERS: usize = 4;

/// What one worker saw.
#[derive(Default)]
struct Seen {
    acknowledged: Vec<String>,
    refused: usize,
    slowest_refusal: Duration,
    /// Acknowledged after the first refusal.
    recovered: usize,
}

async fn create_users(manager: &Manager, token: &str, worker: usize, until: Instant) -> Seen {
    let mut seen = Seen::default();
    for number in 0.. {
        if Instant::now() >= until {
            break;
        }
        let name = format!("user.{worker}.{number}");
        let started = Instant::now();
        let (status, body) = manager.post("users", token, json!({"name": name})).await;
        match status {
            201 => {
                seen.recovered += usize::from(seen.refused > 0);
                seen.acknowledged.push(name);
            }
            503 => {
                seen.refused += 1;
                seen.slowest_refusal = seen.slowest_refusal.max(started.elapsed());
            }
            _ => panic!("{status} {body}"),
        }
    }
    seen
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_death_of_redis() {
    let mut redis = Server::start("appendonly yes\nappendfsync always");
    let manager = Manager::start(&redis.url());
    let token = manager.made_token().expect("a token");
    let until = Instant::now() + BUSY + AWAY + 2 * BUSY;
    let workers = (0..WORKERS).map(|worker| create_users(&manager, &token, worker, until));
    let outage = async {
        tokio::time::sleep(BUSY).await;
        redis.kill();
        tokio::time::sleep(AWAY).await;
        redis.restart();
    };
    let (seen, ()) = tokio::join!(futures_util::future::join_all(workers), outage);
    for seen in &seen {
        assert!(
            seen.refused > 0 && seen.recovered > 0,
            "{} {}",
            seen.refused,
            seen.recovered
        );
        assert!(seen.slowest_refusal < QUICKLY, "{:?}", seen.slowest_refusal);
    }
    let acknowledged: Vec<_> = seen
        .into_iter()
        .flat_map(|seen| seen.acknowledged)
        .collect();
    for name in &acknowledged {
        let (status, user) = manager.get(&format!("users/{name}"), &token).await;
        assert_eq!(status, 200, "{name} was acknowledged: {user}");
    }
    println!("{} acknowledged, none lost", acknowledged.len());
}
