//! The pages that show the API, and that they need nothing from elsewhere.

use crate::harness::{Manager, client};

#[tokio::test]
async fn the_pages_come_out_of_the_program_alone() {
    let manager = Manager::start().await;
    let client = client();
    let fetch = async |path: &str| {
        let answer = client
            .get(format!("{}{path}", manager.url))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        let policy = answer.headers()["content-security-policy"]
            .to_str()
            .expect("text")
            .to_owned();
        assert!(
            policy.starts_with("default-src 'self';"),
            "{path}: {policy}"
        );
        answer.text().await.expect("text")
    };
    // Follows where /docs leads.
    let index = fetch("/docs").await;
    assert!(index.contains("swagger-ui"), "{index}");
    let initializer = fetch("/docs/swagger-initializer.js").await;
    assert!(
        initializer.contains("/api/v1/openapi.json"),
        "{initializer}"
    );
    for (name, text) in [("index", &index), ("initializer", &initializer)] {
        assert!(
            !text.contains("http://") && !text.contains("https://"),
            "{name}: {text}"
        );
        assert!(!text.contains("\"//"), "{name}: {text}");
    }
    let mut found = 0;
    for part in index.split(['"', '\'']) {
        if let Some(file) = part.strip_prefix("./") {
            fetch(&format!("/docs/{file}")).await;
            found += 1;
        }
    }
    assert!(found >= 4, "only {found} files in {index}");
}

#[tokio::test]
async fn what_is_no_page_is_a_problem() {
    let manager = Manager::start().await;
    for path in ["/docs/nothing.js", "/docs/..%2f..%2fetc%2fpasswd"] {
        let answer = client().get(format!("{}{path}", manager.url)).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
}
