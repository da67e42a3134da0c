//! PoPs, as operators registered them.

use redis::cmd;
use titan_proto::control::PopId;

use super::{RedisStore, link::ScriptCall, names::POPS, scripts::DELETE_POP, table::Change};
use crate::store::{Pop, Result, SecretHash};

impl RedisStore {
    pub(super) async fn renew_pop_credential(
        &self,
        id: &PopId,
        credential: SecretHash,
    ) -> Result<bool> {
        let renew = |pop: Pop| Change::To(Pop { credential, ..pop }, ());
        Ok(self.change(POPS, id.as_str(), renew).await?.is_some())
    }

    pub(super) async fn remove_pop(&self, id: &PopId) -> Result<bool> {
        // What it said of its nodes first: the other way round, a failure in between would leave
        // that behind, until it expires, of a PoP that is gone.
        let mut forget = cmd("UNLINK");
        forget
            .arg(self.names.pop_state(id))
            .arg(self.names.pop_nodes(id));
        self.link.read::<()>(&forget).await?;
        let [records, ids] = self.part(POPS, 0);
        let names = &self.names;
        let keys = [
            records,
            ids,
            names.live(),
            names.live_until(),
            names.expected(),
        ];
        self.link
            .run(ScriptCall::new(&DELETE_POP, keys).arg(id.as_str()))
            .await
    }
}
