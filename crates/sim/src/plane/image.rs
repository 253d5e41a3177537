//! What every run of a control plane begins with: two shards' disks, on which a provider of the one shares an API and tenants
//! of both use it. Made once; each run gets copies.

use std::time::Duration;

use anyhow::Result;
use env::simulated::{DiskImage, Host, SimOptions, World};

use crate::client::{Client, Site};
use crate::image::{ADMIN, Setup, TENANTS, until_idle};
use crate::plane::papers::Papers;
use crate::plane::tellings::Tellings;
use crate::plane::{SHARDS, papers};
use crate::server::{self, Member, Server, ServerOptions};
use crate::trace::Trace;

/// Who comes through proxies; tokens are names.
pub const USERS: [&str; 4] = [TENANTS[0], TENANTS[1], TENANTS[2], PROVIDER];
/// Whose export the tenants use.
pub const PROVIDER: &str = "pat";

/// See the module.
#[derive(Clone)]
pub struct PlaneImage {
    /// In the order of [`SHARDS`].
    pub shards: Vec<DiskImage>,
    pub papers: Papers,
    pub homes: Vec<Home>,
    /// The cluster of the provider's workspace, which is on the second shard.
    pub provider: String,
}

/// A tenant's first workspace.
#[derive(Clone, Debug)]
pub struct Home {
    pub tenant: &'static str,
    pub cluster: String,
    pub path: String,
    pub shard: &'static str,
}

const IDLE_BOUND: Duration = Duration::from_secs(60);

// === impl PlaneImage ===

impl PlaneImage {
    /// Starts the shards on empty disks, fills them, and stops them.
    pub async fn make() -> Result<Self> {
        let world = World::new(1, SimOptions::default());
        let papers = papers()?;
        let site = Site::new(world.host("clients").env(), world.faults().clone(), Trace::default());
        let (mut hosts, mut servers, mut setups) = (Vec::new(), Vec::new(), Vec::new());
        for name in SHARDS {
            let host = world.host(name);
            servers.push(start(&world, &host, &papers).await?);
            hosts.push(host);
            let client = Client::at(&format!("{name}:6443"), &site, "setup", ADMIN, world.rng());
            setups.push(Setup(client));
        }
        let [on_root, on_beta] = setups.as_mut_slice() else {
            anyhow::bail!("there are two shards");
        };
        let provider = on_root.workspace("provider", Some(SHARDS[1])).await?;
        on_beta.offer(&provider).await?;
        on_beta.own(&provider, PROVIDER).await?;
        let mut homes = Vec::new();
        for (tenant, shard) in TENANTS.into_iter().zip([SHARDS[0], SHARDS[1], SHARDS[0]]) {
            let cluster = on_root.workspace(tenant, Some(shard)).await?;
            let setup = if shard == SHARDS[0] {
                &mut *on_root
            } else {
                &mut *on_beta
            };
            setup.furnish(&cluster, tenant).await?;
            homes.push(Home {
                tenant,
                cluster,
                path: format!("root:{tenant}"),
                shard,
            });
        }
        for server in &servers {
            until_idle(server, IDLE_BOUND).await?;
        }
        for server in servers.iter().rev() {
            server.stop().await;
        }
        Ok(Self {
            shards: hosts.iter().map(|host| host.disk().image()).collect(),
            papers,
            homes,
            provider,
        })
    }
}

async fn start(world: &World, host: &Host, papers: &Papers) -> Result<Server> {
    let env = host.env();
    server::write_users(&env, &[(ADMIN, "system:masters"), (PROVIDER, "")])?;
    server::write_authorities(&env, papers)?;
    let member = Member {
        name: host.name().to_owned(),
        papers: papers.clone(),
        tellings: Tellings::new(world.faults().clone(), world.rng(), None),
        flaw: None,
        cache: None,
    };
    let options = ServerOptions {
        member: Some(member),
        ..ServerOptions::default()
    };
    let server = Server::start(&env, &options, |effects| effects).await?;
    server.shard.wait_for_root().await;
    Ok(server)
}
