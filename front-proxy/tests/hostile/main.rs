//! What clients, shards and time may do to a front-proxy: over real TLS, with a real shard behind it.

mod certificates;
mod garbage;
mod identity;
mod paths;
mod watches;
mod world;

use std::sync::LazyLock;

use world::{World, authority};

/// For all tests that leave it as it was.
static WORLD: LazyLock<World> = LazyLock::new(|| World::start(&authority("clients"), &authority("proxies")));
