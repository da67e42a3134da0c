//! An edge that asks managers for an assignment.

use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use titan_proto::control::{NodeId, assignment_message, enrolment_message};

use crate::process::Manager;

pub(crate) struct Edge {
    key: SigningKey,
    pub(crate) id: NodeId,
}

impl Edge {
    /// An edge that has enrolled at `manager`.
    pub(crate) async fn enrol(manager: &Manager, token: &str) -> Self {
        let key = SigningKey::from_bytes(&[7; 32]);
        let id = NodeId::from_public_key(key.verifying_key().as_bytes());
        let edge = Self { key, id };
        let (status, made) = manager.post("enrolment-keys", token, json!({})).await;
        assert_eq!(status, 201, "{made}");
        let secret = made["secret"].as_str().expect("a key");
        let request = json!({
            "enrolment_key": secret, "public_key": hex::encode(edge.key.verifying_key().as_bytes()),
            "version": "1", "signature": edge.sign(&enrolment_message(secret)),
        });
        let (status, enrolled) = manager.post("nodes/enrol", "", request).await;
        assert_eq!(status, 200, "{enrolled}");
        edge
    }

    /// A challenge from `manager`, signed.
    pub(crate) async fn signed_challenge(&self, manager: &Manager) -> Value {
        let (status, made) = manager
            .post(&format!("nodes/{}/challenge", self.id), "", json!({}))
            .await;
        assert_eq!(status, 200, "{made}");
        let challenge = made["challenge"].as_str().expect("a challenge");
        let signature = self.sign(&assignment_message(self.id, challenge));
        json!({"challenge": challenge, "signature": signature, "version": "1"})
    }

    pub(crate) async fn assignment(&self, manager: &Manager, request: &Value) -> (u16, Value) {
        manager
            .post(
                &format!("nodes/{}/assignment", self.id),
                "",
                request.clone(),
            )
            .await
    }

    fn sign(&self, message: &[u8]) -> String {
        hex::encode(self.key.sign(message).to_bytes())
    }
}
