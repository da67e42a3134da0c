//! The operator's commands, as programs against a real manager.

use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use titan_manager::{Config, Server, StoreUrl};

/// A manager in this process, on a thread of its own, and what the commands need to reach it.
struct Manager {
    url: String,
    folder: TempDir,
}

impl Manager {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config {
            listen: "127.0.0.1:0".parse().expect("an address"),
            store: StoreUrl::Embedded(folder.path().join("manager.redb")),
            admin_token_file: folder.path().join("admin-token"),
            ..Config::default()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let server = runtime.block_on(Server::bind(config)).expect("a manager");
        let url = format!("http://{}", server.local_addr());
        // Ends with the test's process.
        std::thread::spawn(move || runtime.block_on(server.run(std::future::pending())));
        Self { url, folder }
    }

    fn output(&self, arguments: &[&str]) -> Output {
        let mut command = titan();
        command.env("TITAN_MANAGER", &self.url);
        command.env("TITAN_TOKEN_FILE", self.folder.path().join("admin-token"));
        command.args(arguments).output().expect("the program")
    }

    /// What the command prints.
    fn text(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The same as JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).expect("JSON")
    }

    /// What the command complains of.
    fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(!output.status.success(), "{arguments:?} went well");
        String::from_utf8(output.stderr).expect("UTF-8")
    }
}

fn titan() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_titan"));
    command.env_clear();
    command
}

#[test]
fn a_user_is_given_limits_labels_and_a_package() {
    let manager = Manager::start();
    manager.text(&[
        "user",
        "add",
        "alice",
        "--down",
        "5MB",
        "--connections",
        "20",
        "--allow-from",
        "192.0.2.1,2001:db8::/32",
        "--label",
        "plan=gold",
        "--until",
        "2027-01-31",
        "--bytes",
        "10GB",
    ]);
    let user = manager.json(&["user", "show", "alice"]);
    assert_eq!(
        user["limits"],
        json!({"down_bytes_per_second": 5_000_000, "connections": 20,
               "client_addresses": ["192.0.2.1/32", "2001:db8::/32"]})
    );
    assert_eq!(user["package"]["until"], 1_801_353_600);
    assert_eq!(user["package"]["left"], 10_000_000_000_u64);

    manager.text(&[
        "user", "renew", "alice", "--bytes", "5GB", "--key", "order-7",
    ]);
    let renewed = [
        "user", "renew", "alice", "--bytes", "5GB", "--key", "order-7",
    ];
    assert_eq!(
        manager.json(&renewed)["package"]["bytes"],
        15_000_000_000_u64
    );
    manager.text(&["user", "renew", "alice", "--bytes", "1GB"]);
    let again = manager.json(&["user", "renew", "alice", "--bytes", "1GB"]);
    assert_eq!(again["package"]["bytes"], 17_000_000_000_u64);
    assert_eq!(
        manager.json(&["user", "reset", "alice"])["package"]["used"],
        0
    );

    manager.text(&["user", "add", "bob"]);
    let table = manager.text(&["user", "list", "--label", "plan=gold"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(
        lines[1].contains("17.0 GB  2027-01-31 00:00Z  plan=gold"),
        "{table}"
    );
    let set = [
        "user",
        "set",
        "alice",
        "--down",
        "none",
        "--unlabel",
        "plan",
        "--no-package",
    ];
    let shown = manager.text(&set);
    assert!(
        shown.contains("limits      20 connections, from 192.0.2.1/32"),
        "{shown}"
    );
    assert!(shown.contains("package     -"), "{shown}");
    assert!(
        manager
            .refusal(&["user", "set", "alice"])
            .contains("nothing to change")
    );
    assert!(
        manager
            .refusal(&["user", "renew", "alice", "--bytes", "1GB"])
            .contains("no package")
    );
}

#[test]
fn a_token_opens_what_it_was_made_for() {
    let manager = Manager::start();
    let secret = manager.text(&[
        "token",
        "add",
        "a dashboard",
        "--scopes",
        "read",
        "--expires",
        "+1day",
    ]);
    let secret = secret.trim();
    let weak = |arguments: &[&str]| {
        let mut command = titan();
        command
            .env("TITAN_MANAGER", &manager.url)
            .env("TITAN_TOKEN", secret);
        command.args(arguments).output().expect("the program")
    };
    assert!(weak(&["user", "list"]).status.success());
    let refused = weak(&["user", "add", "alice"]);
    let words = String::from_utf8(refused.stderr).expect("UTF-8");
    assert!(words.contains("lacks the scope users"), "{words}");
    let table = manager.text(&["token", "list"]);
    assert!(
        table.contains("a dashboard  read") && table.lines().count() == 3,
        "{table}"
    );
    let tokens = manager.json(&["token", "list"]);
    let named = |name: Value| {
        let mut tokens = tokens.as_array().expect("a list").iter();
        let token = tokens.find(|token| token["name"] == name).expect("listed");
        token["id"].as_str().expect("an id").to_owned()
    };
    manager.text(&["token", "revoke", &named("a dashboard".into())]);
    assert!(!weak(&["user", "list"]).status.success());
    assert!(
        manager
            .refusal(&["token", "revoke", &named(Value::Null)])
            .contains("last token")
    );
    assert!(
        manager
            .refusal(&["token", "revoke", "../users/x"])
            .contains("is no id")
    );
}

#[test]
fn blocks_come_and_go() {
    let manager = Manager::start();
    let block = manager.json(&["block", "add", "192.0.2.7/24", "--reason", "spam"]);
    assert_eq!(block["target"], json!({"address": "192.0.2.0/24"}));
    let node = "0".repeat(32);
    manager.text(&["block", "add", &node]);
    let table = manager.text(&["block", "list"]);
    assert!(table.contains("192.0.2.0/24") && table.contains("spam") && table.contains(&node));
    manager.text(&["block", "remove", block["id"].as_str().expect("an id")]);
    assert_eq!(
        manager.json(&["block", "list"]).as_array().map(Vec::len),
        Some(1)
    );
    assert!(
        manager
            .refusal(&["block", "add", "somebody"])
            .contains("neither an address")
    );
}

#[test]
fn nodes_are_exported_as_a_table() {
    let manager = Manager::start();
    let table = manager.text(&["node", "export", "--online", "true"]);
    assert_eq!(
        table.trim(),
        "id,online,region,pop,address,version,enrolled_at"
    );
}

#[test]
fn every_shell_gets_its_completions() {
    for (shell, sign) in [
        ("bash", "_titan()"),
        ("zsh", "#compdef titan"),
        ("fish", "complete -c titan"),
    ] {
        let output = titan()
            .args(["completions", shell])
            .output()
            .expect("the program");
        let script = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(
            output.status.success() && script.contains(sign),
            "{shell}: {script:.200}"
        );
        assert!(script.contains("renew"), "{shell} knows the commands");
    }
}
