//! Effective users: as whom a user counts in a cluster (kcp's facts, G.3).
//!
//! A user with scopes counts as itself only in the clusters of its scopes; service accounts count as themselves only in
//! their own cluster; warrants add further users. A permission is granted if any effective user has it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use machinery::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User};
use permit::Cluster;
use serde_json::Value;

pub const SCOPES: &str = "authentication.kcp.io/scopes";
pub const CLUSTER_NAME: &str = "authentication.kcp.io/cluster-name";
pub const WARRANT: &str = "authorization.kcp.io/warrant";

const SCOPE_PREFIX: &str = "cluster:";
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// Warrants may nest; deeper ones are ignored, so that no header can make the server recurse without end.
const WARRANT_DEPTH_MAX: usize = 8;

/// As whom `user` counts in `cluster`. The common case (no extras) borrows.
pub fn effective_users<'a>(user: &'a User, cluster: &Cluster) -> Vec<Cow<'a, User>> {
    let mut out = Vec::with_capacity(1);
    collect(Cow::Borrowed(user), cluster, WARRANT_DEPTH_MAX, &mut out);
    out
}

pub fn is_service_account(user: &User) -> bool {
    user.name.starts_with(SERVICE_ACCOUNT_PREFIX)
}

/// The cluster of a service account, if it names exactly one.
pub fn service_account_cluster(user: &User) -> Option<&str> {
    match user.extra.get(CLUSTER_NAME)?.as_slice() {
        [one] => Some(one),
        _ => None,
    }
}

/// A service account outside of its own cluster.
pub fn is_foreign(user: &User, cluster: &Cluster) -> bool {
    is_service_account(user)
        && user
            .extra
            .get(CLUSTER_NAME)
            .is_some_and(|names| !names.iter().any(|name| name == cluster.as_str()))
}

/// Every value of the scopes extra (each a comma separated list) must contain `cluster:<cluster>`.
pub fn is_in_scope(user: &User, cluster: &Cluster) -> bool {
    if is_foreign(user, cluster) {
        return false;
    }
    let covers = |value: &String| {
        value
            .split(',')
            .filter_map(|s| s.trim().strip_prefix(SCOPE_PREFIX))
            .any(|name| name == cluster.as_str())
    };
    user.extra.get(SCOPES).is_none_or(|values| values.iter().all(covers))
}

/// The clusters that all of a user's scopes have in common.
fn common_scopes(user: &User) -> Vec<&str> {
    let Some(values) = user.extra.get(SCOPES) else {
        return Vec::new();
    };
    let mut lists = values.iter().map(|value| -> Vec<&str> {
        value
            .split(',')
            .filter_map(|s| s.trim().strip_prefix(SCOPE_PREFIX))
            .collect()
    });
    let Some(mut common) = lists.next() else {
        return Vec::new();
    };
    for list in lists {
        common.retain(|name| list.contains(name));
    }
    common
}

fn collect<'a>(user: Cow<'a, User>, cluster: &Cluster, depth: usize, out: &mut Vec<Cow<'a, User>>) {
    for warrant in user.extra.get(WARRANT).into_iter().flatten() {
        if depth == 0 {
            break;
        }
        if let Some(warranted) = parse_warrant(warrant) {
            collect(Cow::Owned(warranted), cluster, depth - 1, out);
        }
    }
    if is_in_scope(&user, cluster) {
        out.push(user);
        return;
    }
    let mut groups = Vec::new();
    let authenticated = user.in_group(AUTHENTICATED);
    if authenticated {
        groups.push(AUTHENTICATED.to_owned());
        groups.extend(common_scopes(&user).iter().map(|name| format!("system:cluster:{name}")));
    } else {
        groups.push(UNAUTHENTICATED.to_owned());
    }
    let foreign = service_account_cluster(&user)
        .filter(|_| is_foreign(&user, cluster))
        .map(str::to_owned);
    if let Some(home) = foreign {
        let group = format!("system:cluster:{home}");
        if !groups.contains(&group) {
            groups.push(group.clone());
        }
        if let Some(rest) = user.name.strip_prefix(SERVICE_ACCOUNT_PREFIX) {
            out.push(Cow::Owned(User {
                name: format!("system:kcp:serviceaccount:{home}:{rest}"),
                groups: vec![AUTHENTICATED.to_owned(), group],
                ..User::default()
            }));
        }
    }
    out.push(Cow::Owned(User {
        name: ANONYMOUS.to_owned(),
        groups,
        ..User::default()
    }));
}

/// `{user, groups, extra, uid}`. Invalid JSON, and service accounts that do not name their cluster, are ignored.
fn parse_warrant(text: &str) -> Option<User> {
    let value: Value = serde_json::from_str(text).ok()?;
    let strings = |value: Option<&Value>| -> Vec<String> {
        value
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let extra: BTreeMap<String, Vec<String>> = value
        .get("extra")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, values)| (key.clone(), strings(Some(values))))
        .collect();
    let user = User {
        name: value.get("user")?.as_str()?.to_owned(),
        uid: value.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned(),
        groups: strings(value.get("groups")),
        extra,
    };
    let nameless_account = is_service_account(&user) && service_account_cluster(&user).is_none();
    (!user.name.is_empty() && !nameless_account).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str) -> Cluster {
        Cluster::parse(name).unwrap()
    }

    fn scoped(mut user: User, values: &[&str]) -> User {
        user.extra
            .insert(SCOPES.to_owned(), values.iter().map(|v| (*v).to_owned()).collect());
        user
    }

    fn account(home: &str) -> User {
        let mut user = User::new(
            "system:serviceaccount:default:ci",
            &["system:serviceaccounts", AUTHENTICATED],
        );
        user.extra.insert(CLUSTER_NAME.to_owned(), vec![home.to_owned()]);
        scoped(user, &[&format!("cluster:{home}")])
    }

    #[test]
    fn plain_users_count_as_themselves_everywhere() {
        let user = User::new("alice", &[AUTHENTICATED]);
        let users = effective_users(&user, &cluster("abc"));
        assert_eq!(users.len(), 1);
        assert!(matches!(users[0], Cow::Borrowed(u) if u == &user));
    }

    #[test]
    fn several_scopes_must_all_cover() {
        let user = scoped(
            User::new("alice", &[AUTHENTICATED]),
            &["cluster:abc,cluster:def", "cluster:def"],
        );
        assert!(!is_in_scope(&user, &cluster("abc")));
        assert!(is_in_scope(&user, &cluster("def")));
        let users = effective_users(&user, &cluster("abc"));
        assert_eq!(users[0].name, ANONYMOUS);
        assert_eq!(users[0].groups, [AUTHENTICATED, "system:cluster:def"]);
    }

    #[test]
    fn accounts_are_foreign_outside_their_cluster() {
        let user = account("home1");
        assert_eq!(effective_users(&user, &cluster("home1"))[0].name, user.name);
        let abroad = effective_users(&user, &cluster("abroad"));
        assert_eq!(abroad[0].name, "system:kcp:serviceaccount:home1:default:ci");
        assert_eq!(abroad[0].groups, [AUTHENTICATED, "system:cluster:home1"]);
        assert_eq!(abroad[1].name, ANONYMOUS);
    }

    #[test]
    fn warrants_add_users_and_never_recurse_without_end() {
        let mut user = User::new("alice", &[AUTHENTICATED]);
        let warrant = r#"{"user":"bob","groups":["dev"]}"#.to_owned();
        user.extra
            .insert(WARRANT.to_owned(), vec![warrant, "not json".to_owned()]);
        let users = effective_users(&user, &cluster("abc"));
        assert_eq!(
            users.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(),
            ["bob", "alice"]
        );
        assert!(users.iter().any(|user| user.in_group("dev")) && users.iter().any(|user| user.in_group(AUTHENTICATED)));
    }
}
