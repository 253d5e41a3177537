//! Users of workspaces' own issuers (feature WorkspaceAuthentication): known to the shard that holds the workspace, and asked there.
//!
//! The shard has the types and configurations, and is the authority on them; a second index of both here could only be
//! behind. What it says is believed as far as it concerns that workspace: somebody who is confined to it and nobody of the
//! system. So a proxy that does not know a shard's own tokens does not come to know them this way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apiserver::auth::hash_token;
use apiserver::auth::jwt::Unverified;
use env::Env;
use fabric::peers::{too_many, unreachable};
use fabric::{Destination, Peers};
use machinery::object::ObjectExt;
use machinery::status::Result;
use machinery::user::{AUTHENTICATED, User};
use parking_lot::Mutex;
use permit::Cluster;
use serde_json::{Value, json};
use tenancy::WorkspacePath;
use tenancy::effective::{CLUSTER_NAME, SCOPES};

use crate::review::reviewed;

/// Asks with the proxy's own certificate, and remembers for a moment what it was told.
pub struct WorkspaceUsers {
    env: Env,
    peers: Arc<Peers>,
    known: Mutex<BTreeMap<Key, Known>>,
    asking: AtomicUsize,
}

/// The hash of a token, and the cluster that it came for.
type Key = ([u8; 32], Cluster);

struct Known {
    /// On the monotonic clock.
    until: Duration,
    user: Option<User>,
}

/// Gives the place among those who ask back.
struct Asking<'a>(&'a AtomicUsize);

/// As long as Kubernetes' servers believe a token that they have checked.
const BELIEVED: Duration = Duration::from_secs(10);
/// What does not hold may hold next: its issuer has begun to answer.
const MISSED: Duration = Duration::from_secs(1);
const KNOWN_MAX: usize = 16_384;
/// A shard may have to ask an issuer, for ten seconds at most.
const TIMEOUT: Duration = Duration::from_secs(12);
/// Anybody can make tokens up: so many are asked about at a time.
const ASKING_MAX: usize = 64;
const SYSTEM: &str = "system:";

// === impl WorkspaceUsers ===

impl WorkspaceUsers {
    pub fn new(env: &Env, peers: Arc<Peers>) -> Self {
        Self {
            env: env.clone(),
            peers,
            known: Mutex::default(),
            asking: AtomicUsize::new(0),
        }
    }

    /// Who has this token in a workspace, which is named by its path or cluster. Only the index is asked where that is: who is
    /// nobody yet learns nothing of paths, and makes no shard look for any.
    pub async fn user(&self, token: &str, place: &str) -> Result<Option<User>> {
        let Ok(place) = WorkspacePath::parse(place) else {
            return Ok(None);
        };
        let (Some(_), Some(Ok(Destination::Cluster { cluster, shard }))) =
            (Unverified::parse(token), self.peers.known(&place))
        else {
            return Ok(None);
        };
        let key = (hash_token(token), cluster.clone());
        if let Some(told) = self.remembered(&key) {
            return Ok(told);
        }
        let _asking = Asking::new(&self.asking).ok_or_else(too_many)?;
        let upstream = self.peers.upstream(shard);
        let upstream = upstream.ok_or_else(|| unreachable("the shard of a workspace was not reached yet"))?;
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
        });
        let path = format!("/clusters/{cluster}/apis/authentication.k8s.io/v1/tokenreviews");
        let answer = reviewed(&self.env, upstream, &path, &review, TIMEOUT, "whose a token is").await?;
        // Without one the workspace has moved, or goes: nobody is known there now.
        let review = answer.unwrap_or_default();
        let user = believed(&review, &cluster);
        self.remember(key, user.clone());
        Ok(user)
    }

    /// What was told a moment ago: somebody, or nobody.
    fn remembered(&self, key: &Key) -> Option<Option<User>> {
        let now = self.env.clock.monotonic();
        let known = self.known.lock();
        let told = known.get(key).filter(|known| now < known.until);
        told.map(|known| known.user.clone())
    }

    fn remember(&self, key: Key, user: Option<User>) {
        let now = self.env.clock.monotonic();
        let until = now + if user.is_some() { BELIEVED } else { MISSED };
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, known| now < known.until);
        }
        if known.len() < KNOWN_MAX {
            known.insert(key, Known { until, user });
        }
    }
}

/// The user of a review, if it is one of this cluster alone and nobody of the system.
fn believed(review: &Value, of: &Cluster) -> Option<User> {
    let status = review.at(&["status"])?;
    status
        .get("authenticated")
        .and_then(Value::as_bool)
        .filter(|holds| *holds)?;
    let mut user: User = serde_json::from_value(status.get("user")?.clone()).ok()?;
    let says = |key: &str, value: &str| user.extra.get(key).is_some_and(|values| *values == [value]);
    let is_confined = says(SCOPES, &format!("cluster:{of}")) && says(CLUSTER_NAME, of.as_str());
    // As for every user that proxies name, the shard adds it.
    user.groups.retain(|group| group != AUTHENTICATED);
    let is_system = [&user.name]
        .into_iter()
        .chain(&user.groups)
        .any(|name| name.starts_with(SYSTEM));
    (is_confined && !is_system && !user.name.is_empty()).then_some(user)
}

// === impl Asking ===

impl<'a> Asking<'a> {
    fn new(count: &'a AtomicUsize) -> Option<Self> {
        let asking = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < ASKING_MAX).then_some(asking)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use env::simulated::{SimOptions, World};
    use fabric::{Routes, UpstreamOptions};

    use super::*;

    #[test]
    fn a_shard_is_believed_about_users_of_its_workspaces_alone() {
        let of = Cluster::parse("abc").unwrap();
        let review = |name: &str, group: &str, scope: &str, cluster: &str, holds: bool| {
            json!({"status": {"authenticated": holds, "user": {
                "username": name, "groups": [group, AUTHENTICATED],
                "extra": {SCOPES: [scope], CLUSTER_NAME: [cluster]},
            }}})
        };
        let user = believed(&review("jane", "dev", "cluster:abc", "abc", true), &of).unwrap();
        assert_eq!((user.name.as_str(), &*user.groups), ("jane", &["dev".to_owned()][..]));
        for wrong in [
            review("jane", "dev", "cluster:abc", "abc", false),
            review("jane", "dev", "cluster:other", "abc", true),
            review("jane", "dev", "cluster:abc", "other", true),
            review("jane", "system:masters", "cluster:abc", "abc", true),
            review("system:serviceaccount:default:x", "dev", "cluster:abc", "abc", true),
            review("", "dev", "cluster:abc", "abc", true),
            json!({"status": {"authenticated": true, "user": {"username": "shard-admin"}}}),
            json!({}),
        ] {
            assert_eq!(believed(&wrong, &of), None, "{wrong}");
        }
    }

    #[test]
    fn few_are_asked_about_at_a_time() {
        let count = AtomicUsize::new(0);
        let all: Vec<_> = (0..ASKING_MAX + 3).map(|_| Asking::new(&count)).collect();
        assert_eq!(all.iter().flatten().count(), ASKING_MAX);
        drop(all);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    fn users(env: &Env) -> WorkspaceUsers {
        let routes = Arc::new(Routes::new([1, 2]));
        WorkspaceUsers::new(env, Peers::new(env, routes, None, UpstreamOptions::default()))
    }

    fn key(token: &str, cluster: &str) -> Key {
        (hash_token(token), Cluster::parse(cluster).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_shard_has_told_is_believed_for_a_moment() {
        let world = World::new(1, SimOptions::default());
        let host = world.host("proxy");
        let env = host.env();
        let users = users(&env);
        let jane = User::new("jane", &[]);
        users.remember(key("a", "abc"), Some(jane.clone()));
        users.remember(key("b", "abc"), None);
        assert_eq!(users.remembered(&key("a", "abc")), Some(Some(jane.clone())));
        assert_eq!(users.remembered(&key("b", "abc")), Some(None));
        // In that workspace, of that token.
        assert_eq!(users.remembered(&key("a", "other")), None);
        assert_eq!(users.remembered(&key("c", "abc")), None);
        env.clock.sleep(MISSED).await;
        assert_eq!(users.remembered(&key("b", "abc")), None, "it may hold next");
        assert_eq!(users.remembered(&key("a", "abc")), Some(Some(jane)));
        env.clock.sleep(BELIEVED - MISSED).await;
        assert_eq!(users.remembered(&key("a", "abc")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_tokens_are_remembered_and_old_ones_make_room() {
        let world = World::new(1, SimOptions::default());
        let host = world.host("proxy");
        let env = host.env();
        let users = users(&env);
        for n in 0..KNOWN_MAX + 3 {
            users.remember(key(&n.to_string(), "abc"), None);
        }
        assert_eq!(users.known.lock().len(), KNOWN_MAX);
        env.clock.sleep(MISSED).await;
        users.remember(key("new", "abc"), None);
        assert_eq!(users.remembered(&key("new", "abc")), Some(None));
        assert_eq!(users.known.lock().len(), 1);
    }
}
