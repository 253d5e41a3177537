//! How shards of these tests are started.

use std::time::Duration;

use api::bootstrap::{Batteries, RootOptions, ShardUrls};
use clap::Parser;
use controllers::ShardInfo;
use env::Env;
use shard::account_signer::AccountSigner;
use shard::options::StartOptions;
use shard::shard::ShardOptions;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    start: StartOptions,
}

/// What `kcp start` makes of a command line that names little.
pub fn start_options(name: &str) -> StartOptions {
    Line::parse_from(["kcp", "--root-directory", "/kcp", "--shard-name", name]).start
}

/// A shard alone on its store that runs its controllers, without limits and neighbours.
pub fn shard_options(env: &Env, url: &str, start: &StartOptions) -> ShardOptions {
    ShardOptions {
        info: ShardInfo {
            name: start.shard_name.clone(),
            external_url: url.to_owned(),
            virtual_workspace_url: url.to_owned(),
            ca_pem: "pem".to_owned(),
        },
        urls: ShardUrls {
            base: url.to_owned(),
            external: url.to_owned(),
            virtual_workspace: url.to_owned(),
        },
        root: RootOptions {
            batteries: Batteries::default(),
            home_creator_groups: Vec::new(),
        },
        cache_apis: false,
        object_limit: 0,
        prefix: "/registry".to_owned(),
        compaction: Duration::ZERO,
        always_allowed_paths: Vec::new(),
        exclusive_store: true,
        run_controllers: true,
        holder: "test".to_owned(),
        identity_file: None,
        accounts: AccountSigner::open(env, start).expect("a key is made"),
        neighbourhood: None,
    }
}
