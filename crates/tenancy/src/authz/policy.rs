//! The maximal permission policy: as whom a user counts in the export's cluster (kcp's facts, E.8).

use std::collections::BTreeMap;

use machinery::user::{ANONYMOUS, User};
use permit::Cluster;

use crate::effective::{WARRANT, is_service_account, service_account_cluster};

/// Put before user and group names, so that an export's owner speaks of its consumers' users without confusing them with
/// the export's own.
pub const POLICY_PREFIX: &str = "apis.kcp.io:binding:";

/// The user with prefixed name and groups. A service account that does not name exactly one cluster is anonymous.
pub fn prefixed_user(user: &User, _cluster: &Cluster) -> User {
    let prefix = |name: &str| format!("{POLICY_PREFIX}{name}");
    let name = if is_service_account(user) {
        match (
            service_account_cluster(user),
            user.name.strip_prefix("system:serviceaccount:"),
        ) {
            (Some(home), Some(rest)) => prefix(&format!("system:kcp:serviceaccount:{home}:{rest}")),
            _ => prefix(ANONYMOUS),
        }
    } else {
        prefix(&user.name)
    };
    let extra: BTreeMap<String, Vec<String>> = user
        .extra
        .iter()
        .filter(|(key, _)| key.as_str() != WARRANT)
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    User {
        name,
        uid: user.uid.clone(),
        groups: user.groups.iter().map(|g| prefix(g)).collect(),
        extra,
    }
}
