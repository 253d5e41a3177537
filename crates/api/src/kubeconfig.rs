//! The admin.kubeconfig that a shard writes for its battery admin (K.2), as a tree; encoding it is the writer's business.

use serde_json::{Value, json};

use crate::keys::{cluster, identity};

/// What admin.kubeconfig is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminKubeconfig {
    /// Where clients reach the server, with scheme, without a path.
    pub server: String,
    /// PEM bundle of the CA that signed the server's certificate, in base64.
    pub ca_data: String,
    /// Token of user kcp-admin; new at each start.
    pub kcp_admin_token: String,
    /// Token of user shard-admin; kept from start to start.
    pub shard_admin_token: String,
    /// Token of battery user, where it is in.
    pub user_token: Option<String>,
}

// === impl AdminKubeconfig ===

impl AdminKubeconfig {
    /// Clusters, users and contexts, each sorted by name. `root` is the current context.
    pub fn to_value(&self) -> Value {
        let to = |name: &str, path: &str| {
            let server = format!("{}{path}", self.server);
            json!({"name": name, "cluster": {"server": server, "certificate-authority-data": self.ca_data}})
        };
        let user = |name: &str, token: &str| json!({"name": name, "user": {"token": token}});
        let context = |name: &str, cluster: &str, user: &str| json!({"name": name, "context": {"cluster": cluster, "user": user}});
        let root = format!("/clusters/{}", cluster::ROOT);
        let admin = format!("/clusters/{}", cluster::SYSTEM_ADMIN);
        let mut users = vec![
            user(identity::KCP_ADMIN, &self.kcp_admin_token),
            user(identity::SHARD_ADMIN, &self.shard_admin_token),
        ];
        let mut contexts = vec![
            context("base", "base", identity::KCP_ADMIN),
            context("root", cluster::ROOT, identity::KCP_ADMIN),
            context("shard-base", "base", identity::SHARD_ADMIN),
            context("system:admin", cluster::SYSTEM_ADMIN, identity::SHARD_ADMIN),
        ];
        if let Some(token) = &self.user_token {
            users.push(user(identity::USER, token));
            contexts.push(context(identity::USER, cluster::ROOT, identity::USER));
        }
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "preferences": {},
            "clusters": [to("base", ""), to("root", &root), to("system:admin", &admin)],
            "users": users,
            "contexts": contexts,
            "current-context": "root",
        })
    }
}

/// The token of a user in a kubeconfig: how a shard finds shard-admin's token of an earlier start.
pub fn token_of<'a>(kubeconfig: &'a Value, user: &str) -> Option<&'a str> {
    let users = kubeconfig.get("users")?.as_array()?;
    let entry = users
        .iter()
        .find(|entry| entry.get("name").and_then(Value::as_str) == Some(user))?;
    entry.get("user")?.get("token")?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(user_token: Option<String>) -> AdminKubeconfig {
        AdminKubeconfig {
            server: "https://HOST:PORT".to_owned(),
            ca_data: "DATA+OMITTED".to_owned(),
            kcp_admin_token: "REDACTED".to_owned(),
            shard_admin_token: "REDACTED".to_owned(),
            user_token,
        }
    }

    #[test]
    fn looks_as_kcps() {
        let recorded: Value = serde_json::from_str(include_str!("../tests/golden/admin.kubeconfig.json")).unwrap();
        assert_eq!(config(None).to_value(), recorded);
    }

    #[test]
    fn battery_user_adds_a_user_of_root() {
        let value = config(Some("secret".to_owned())).to_value();
        assert_eq!(token_of(&value, "user"), Some("secret"));
        assert_eq!(
            value["contexts"][4],
            json!({"name": "user", "context": {"cluster": "root", "user": "user"}})
        );
        assert_eq!(token_of(&value, "nobody"), None);
    }
}
