//! Redis over TLS.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::{
    process::{Manager, program, run},
    servers::{Server, free_port},
};

/// Writes a CA's certificate, and a certificate of it for 127.0.0.1 with its key.
fn certificates(folder: &Path) {
    let write =
        |name: &str, text: String| std::fs::write(folder.join(name), text).expect("written");
    let mut params = CertificateParams::new([]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    write(
        "ca.pem",
        params.self_signed(&key).expect("a certificate").pem(),
    );
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("parameters");
    write(
        "redis.pem",
        params
            .signed_by(&key, &issuer)
            .expect("a certificate")
            .pem(),
    );
    write("redis.key", key.serialize_pem());
}

#[tokio::test]
async fn a_redis_with_tls_is_trusted_by_its_ca_only() {
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let port = free_port();
    let _redis = Server::start(&format!(
        "tls-port {port}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no",
        file("redis.pem"),
        file("redis.key"),
        file("ca.pem")
    ));
    let url = format!("rediss://127.0.0.1:{port}");
    let manager = Manager::start_with(&url, &["--redis-ca-file", &file("ca.pem")]);
    let token = manager.made_token().expect("a token");
    assert_eq!(manager.get("users", &token).await.0, 200);

    let (code, _, log) = run(&mut program(folder.path(), &url));
    assert!(
        code == Some(1) && log.contains("redis does not answer"),
        "{log}"
    );
    let (code, _, log) =
        run(program(folder.path(), &url).args(["--redis-ca-file", &file("redis.key")]));
    assert_eq!(code, Some(1), "{log}");
    let plain = url.replace("rediss", "redis");
    let (code, _, log) =
        run(program(folder.path(), &plain).args(["--redis-ca-file", &file("ca.pem")]));
    assert!(code == Some(64) && log.contains("asks for no TLS"), "{log}");
}
