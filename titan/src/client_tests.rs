//! The operator's client against a real manager in this process.

use clap::Parser;
use serde_json::{Value, json};
use tempfile::TempDir;
use titan_manager::{Config, Server, StoreUrl};
use titan_proto::control::{UserCreated, UserUpdate, UserView};

use super::*;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    connection: Connection,
}

struct Manager {
    url: String,
    folder: TempDir,
}

impl Manager {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::bind(Config {
            listen: "127.0.0.1:0".parse().expect("an address"),
            store: StoreUrl::Embedded(folder.path().join("manager.redb")),
            admin_token_file: folder.path().join("admin-token"),
            ..Config::default()
        });
        let server = server.await.expect("a manager");
        let url = format!("http://{}", server.local_addr());
        // Ends with the test's runtime.
        tokio::spawn(server.run(std::future::pending()));
        Self { url, folder }
    }

    fn client(&self) -> Client {
        let file = self.folder.path().join("admin-token");
        let file = file.to_str().expect("UTF-8");
        client(&["--manager", &self.url, "--token-file", file]).expect("a client")
    }
}

fn client(arguments: &[&str]) -> anyhow::Result<Client> {
    let arguments = Arguments::try_parse_from(["titan"].iter().chain(arguments))?;
    Client::new(&arguments.connection)
}

fn words<T>(result: anyhow::Result<T>) -> String {
    result
        .err()
        .map(|error| format!("{error:#}"))
        .expect("an error")
}

#[tokio::test]
async fn a_user_goes_through_all_its_states() {
    let manager = Manager::start().await;
    let client = manager.client();
    let created: UserCreated = client
        .post("/users", &json!({"name": "a"}))
        .await
        .expect("created");
    assert_eq!(created.password.map(|password| password.len()), Some(20));
    let change = UserUpdate {
        enabled: Some(false),
        ..UserUpdate::default()
    };
    let changed: UserView = client.patch("/users/a", &change).await.expect("changed");
    assert!(!changed.enabled && changed.version > created.user.version);
    let shown: UserView = client.get("/users/a").await.expect("shown");
    assert_eq!(shown, changed);
    client.delete("/users/a").await.expect("removed");
    assert_eq!(client.list::<UserView>("/users").await.expect("a list"), []);
}

#[tokio::test]
async fn a_long_list_is_fetched_whole() {
    let manager = Manager::start().await;
    let client = Client {
        page: 2,
        ..manager.client()
    };
    for number in 0..5 {
        let pop = json!({"id": format!("p{number}")});
        client.post::<Value>("/pops", &pop).await.expect("created");
    }
    let pops: Vec<Value> = client.list("/pops").await.expect("a list");
    let ids: Vec<_> = pops.iter().filter_map(|pop| pop["id"].as_str()).collect();
    assert_eq!(ids, ["p0", "p1", "p2", "p3", "p4"]);
}

#[tokio::test]
async fn the_managers_own_words_are_passed_on() {
    let manager = Manager::start().await;
    let client = manager.client();
    let short = json!({"name": "a", "password": "short"});
    let refused = client.post::<Value>("/users", &short).await;
    assert_eq!(words(refused), "a password has 8 to 255 bytes");
    assert_eq!(
        words(client.delete("/users/a").await),
        "there is no such user"
    );
    let stranger = Client {
        token: "titan_admin_00_00".into(),
        ..manager.client()
    };
    let refused = words(stranger.get::<Value>("/users").await);
    assert!(
        refused.starts_with("the manager does not accept the token"),
        "{refused}"
    );
}

#[tokio::test]
async fn who_is_no_manager_is_said_so() {
    let manager = Manager::start().await;
    // No route of the API, so what answers is not what was expected of it.
    let elsewhere = Client {
        base: format!("{}/x", manager.url),
        ..manager.client()
    };
    assert_eq!(
        words(elsewhere.get::<Value>("/users").await),
        "there is nothing at this path"
    );
    // The port is free again once the listener is dropped.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    let nobody = client(&["--manager", &url, "--token", "t"]).expect("a client");
    let error = words(nobody.get::<Value>("/users").await);
    assert!(
        error.starts_with(&format!("cannot reach a manager at {url}")),
        "{error}"
    );
}

#[test]
fn a_token_is_read_from_where_it_was_said_to_be() {
    let missing = words(client(&["--token-file", "/nowhere/token"]));
    assert!(
        missing.contains("/nowhere/token") && missing.contains("--token-file"),
        "{missing}"
    );
    assert!(words(client(&["--token", " "])).contains("admin token"));
    assert!(words(client(&["--token", "a\r\nX: y"])).contains("admin token"));
    assert_eq!(
        client(&["--token", " abc\n"]).expect("a client").token,
        "abc"
    );
}
