//! HTTP itself: what is not there, what is too large, and how a manager stops.

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Manager, text};

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let manager = Manager::start().await;
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v2/users",
        "/api/v1/users/",
        "/healthz/x",
    ] {
        let problem = manager.get(path).await.expect(404);
        assert_eq!(
            (text(&problem, "type"), text(&problem, "title")),
            pair("Not Found")
        );
    }
    let answer = manager.admin(Method::PUT, "/api/v1/users").send().await;
    let mut allowed: Vec<_> = answer.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    answer.expect(405);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_a_problem() {
    let manager = Manager::start().await;
    let post = || manager.admin(Method::POST, "/api/v1/users");
    let broken = post().body("{\"name\":").send().await.expect(400);
    assert!(text(&broken, "detail").contains("EOF"), "{broken}");
    post().send().await.expect(415);
    let wrong = post().json(&json!({"name": 5})).send().await.expect(422);
    assert!(text(&wrong, "detail").contains("name"), "{wrong}");
    post()
        .body("x".repeat(64 * 1024 + 1))
        .send()
        .await
        .expect(413);
    let stray = manager
        .anonymous(Method::POST, "/api/v1/users")
        .body("x".repeat(100_000));
    stray.send().await.expect(401);
    let heartbeat = manager.anonymous(Method::POST, "/api/v1/pop/heartbeat");
    heartbeat
        .body(vec![b'x'; 1_000_000])
        .send()
        .await
        .expect(401);
}

#[tokio::test]
async fn a_path_that_cannot_be_read_is_a_problem() {
    let manager = Manager::start().await;
    for path in [
        "/api/v1/users/a%20b",
        "/api/v1/users/%ff",
        "/api/v1/pops/P",
        "/api/v1/nodes/7",
    ] {
        manager.get(path).await.expect(400);
    }
}

#[tokio::test]
async fn a_healthy_manager_says_so() {
    let manager = Manager::start().await;
    let answer = manager.anonymous(Method::GET, "/healthz").send().await;
    assert_eq!(answer.expect(200), json!({"status": "ok"}));
}

#[tokio::test]
async fn a_manager_stops_in_spite_of_idle_connections() {
    let manager = Manager::start().await;
    let address = manager
        .url
        .strip_prefix("http://")
        .expect("http")
        .to_owned();
    let mut silent = TcpStream::connect(&address).await.expect("a connection");
    let mut used = TcpStream::connect(&address).await.expect("a connection");
    used.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = [0; 12];
    used.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    manager.stop().await;
    let mut rest = Vec::new();
    assert_eq!(silent.read_to_end(&mut rest).await.unwrap_or(0), 0);
    used.read_to_end(&mut rest).await.expect("closed");
    assert!(
        TcpStream::connect(&address).await.is_err(),
        "nobody listens"
    );
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let manager = Manager::start().await;
    let address = manager
        .url
        .strip_prefix("http://")
        .expect("http")
        .to_owned();
    let mut stream = TcpStream::connect(&address).await.expect("a connection");
    let head = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(32 * 1024));
    // The manager may close before all of it is sent.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
}

fn pair(title: &str) -> (String, String) {
    ("about:blank".into(), title.into())
}
