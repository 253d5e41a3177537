//! What has to go on while something is lost: workspaces are made, known APIs bound, users and accounts told apart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::Client;
use tokio::task::JoinSet;

use crate::plane::{self, BOUND, Part, SHARDS, TEAMS};

/// How long it took at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub workspace: Duration,
    pub binding: Duration,
    pub stranger: Duration,
}

/// Below every team that is not lost, through every proxy that is not. Panics when something does not work.
pub async fn all(clients: Arc<Vec<Client>>, lost: Option<Part>, round: usize) -> Times {
    let mut running = JoinSet::new();
    for proxy in (0..clients.len()).filter(|proxy| lost != Some(Part::Proxy(*proxy))) {
        for team in (0..TEAMS.len()).filter(|team| lost != Some(Part::Shard(*team))) {
            let (clients, lost) = (clients.clone(), lost.clone());
            running.spawn(async move { one(&clients, proxy, team, lost.as_ref(), round).await });
        }
        let (clients, lost) = (clients.clone(), lost.clone());
        running.spawn(async move { strangers(&clients[proxy], lost).await });
    }
    let mut times = Times::default();
    while let Some(done) = running.join_next().await {
        let one = done.expect("every chore can be done");
        times.workspace = times.workspace.max(one.workspace);
        times.binding = times.binding.max(one.binding);
        times.stranger = times.stranger.max(one.stranger);
    }
    times
}

async fn one(clients: &[Client], proxy: usize, team: usize, lost: Option<&Part>, round: usize) -> Times {
    let name = format!("chore-{round}-{proxy}");
    let made = plane::make(&clients[proxy], TEAMS[team], &name, None).await;
    if let Some(Part::Shard(lost)) = lost {
        assert_ne!(made.shard, SHARDS[*lost], "{name} lies on the shard that is lost");
    }
    // Ready: the first request through any proxy succeeds.
    let path = format!("{}:{name}", TEAMS[team]);
    for (proxy, client) in clients.iter().enumerate() {
        if lost == Some(&Part::Proxy(proxy)) {
            continue;
        }
        let of = format!("/clusters/{path}/api/v1/namespaces/default");
        let reply = client.get(&of, BOUND).await.expect("it answers");
        assert!(reply.is_ok(), "{path} is Ready: {} {}", reply.code, reply.json());
    }
    let begun = Instant::now();
    for export in 0..TEAMS.len() {
        plane::bind(&clients[proxy], &path, export).await;
    }
    Times {
        workspace: made.took,
        binding: begun.elapsed(),
        stranger: Duration::ZERO,
    }
}

/// Below a team that is there nobody's paths are refused at once, whoever is lost: 404, or 403 while root, which knows the
/// administrators, is lost. A name may be that of a cluster on the shard that is lost: who has it is told to come back, and
/// nobody that there is none.
async fn strangers(client: &Client, lost: Option<Part>) -> Times {
    let begun = Instant::now();
    let name = "/clusters/never-there/api/v1/namespaces";
    let reply = client.get(name, BOUND).await.expect("it answers");
    let is_right = match lost {
        Some(Part::Shard(_)) => matches!(reply.code, 403 | 503),
        _ => reply.code == 403,
    };
    assert!(is_right, "{} {}", reply.code, reply.json());
    let there = (0..TEAMS.len()).find(|team| lost != Some(Part::Shard(*team)));
    let path = format!(
        "/clusters/{}:never-there/api/v1/namespaces",
        TEAMS[there.unwrap_or_default()]
    );
    let reply = client.get(&path, BOUND).await.expect("it answers");
    assert!(matches!(reply.code, 403 | 404), "{} {}", reply.code, reply.json());
    Times {
        stranger: begun.elapsed(),
        ..Times::default()
    }
}
