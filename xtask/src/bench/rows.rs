//! What is measured, and what it is held against.

use clap::ValueEnum;

/// Measurements that share a server, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Series {
    /// Start, idle memory, workspaces until Ready
    Basic,
    /// Create, get, list, watch, idle watchers
    Requests,
    /// One tenant at ten times its share
    Fairness,
    /// 10,000 workspaces: memory, disk, metric series, the cost of requests beside them, deletion
    Workspaces,
    /// 10,000 workspaces made and deleted, flat and as a tree, twice: what stays
    Churn,
    /// Live bytes of 100,000 ConfigMaps
    Memory,
    /// A store of a million objects is opened
    Opening,
    /// Two shards, their virtual workspaces, cache server and front-proxy: start, memory, workspaces until Ready
    Plane,
    /// Gets through the front-proxy of the same
    Proxy,
    /// Live bytes of the front-proxy's index of 100,000 workspaces
    Index,
}

/// One row of the table.
pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    /// In the unit of the values.
    pub gate: f64,
    /// The value is to be at least the gate, not at most.
    pub is_minimum: bool,
    pub aim: &'static str,
    pub kcp: &'static str,
    pub unit: &'static str,
}

const fn row(
    name: &'static str,
    what: &'static str,
    gate: f64,
    unit: &'static str,
    aim: &'static str,
    kcp: &'static str,
) -> Row {
    Row {
        name,
        what,
        gate,
        is_minimum: false,
        aim,
        kcp,
        unit,
    }
}

/// Every row, in the order of the table. Values come from [`super::report::Report::value`].
pub const ROWS: &[Row] = &[
    row("start", "start, empty directory, to /readyz", 1.0, "s", "0.3", "24"),
    row("idle", "idle memory", 60.0, "MiB", "30", "494"),
    Row {
        is_minimum: true,
        ..row(
            "workspaces-rate",
            "workspaces until Ready (-c 64 -conns 8 -n 2000), rate",
            300.0,
            "/s",
            "1,000",
            "3.4",
        )
    },
    row("workspaces-cpu", "the same, cpu each", 4.0, "ms", "0.8", "514"),
    row(
        "create",
        "create 1 KiB ConfigMaps, durable (-c 64 -conns 8 -n 20000), cpu",
        150.0,
        "µs",
        "70",
        "1,626",
    ),
    row("get", "get (-c 64 -conns 8), cpu", 60.0, "µs", "25", "662"),
    row(
        "list",
        "list 2,000 x 1 KiB (-c 4), cpu per MiB",
        1.2,
        "ms",
        "0.6",
        "12.1",
    ),
    row(
        "watch",
        "watch, 200 watchers, cpu per event delivered",
        12.0,
        "µs",
        "5",
        "39–57",
    ),
    row(
        "idle-watchers",
        "one event beside 2,000 idle watchers (-watchers 1 -n 5000), cpu against none",
        1.2,
        "x",
        "1.05",
        "1.1",
    ),
    row(
        "fairness",
        "p99 of four tenants beside one at 10 x its share, against without it",
        1.5,
        "x",
        "",
        "",
    ),
    row(
        "workspace-memory",
        "memory per empty workspace at 10,000",
        40.0,
        "KiB",
        "12",
        "5,000–6,500",
    ),
    row(
        "workspace-disk",
        "disk per empty workspace, growth from 1,000 to 10,000, compacted",
        32.0,
        "KiB",
        "12",
        "≈ 155",
    ),
    row("series-0", "metric series without workspaces", 2000.0, "", "", "16,800"),
    row(
        "series-3000",
        "metric series with 3,000 workspaces",
        2000.0,
        "",
        "",
        "160,000",
    ),
    row(
        "get-10000",
        "get at 10,000 workspaces, cpu against at 10",
        1.2,
        "x",
        "",
        "",
    ),
    row(
        "create-10000",
        "create at 10,000 workspaces, cpu against at 10",
        1.2,
        "x",
        "",
        "",
    ),
    row(
        "watch-10000",
        "watch at 10,000 workspaces, cpu per event against at 10",
        1.2,
        "x",
        "",
        "",
    ),
    row(
        "delete",
        "delete 10,000 workspaces (depth 3) until no key is left",
        60.0,
        "s",
        "15",
        "about 1 h",
    ),
    row(
        "churn-memory",
        "memory after 10,000 workspaces made and deleted, flat and as a tree, against after 100",
        1.1,
        "x",
        "",
        "",
    ),
    row(
        "churn-memory-again",
        "memory after the same once more, against after the first time",
        1.02,
        "x",
        "",
        "",
    ),
    row(
        "churn-keys",
        "resources that have more or fewer objects after that than before",
        0.0,
        "",
        "",
        "",
    ),
    row(
        "churn-series",
        "metric series after that, against before",
        1.0,
        "x",
        "",
        "",
    ),
    row(
        "configmaps-memory",
        "live bytes of 100,000 distinct 1 KiB ConfigMaps against their bodies",
        1.5,
        "x",
        "",
        "",
    ),
    row(
        "opening",
        "store of 1,000,000 objects, start to serving",
        5.0,
        "s",
        "",
        "",
    ),
    row(
        "plane-start",
        "two shards, proxy, cache and virtual workspaces, empty directory, until all are ready",
        2.5,
        "s",
        "1",
        "54",
    ),
    row("plane-idle", "the same, idle memory", 200.0, "MiB", "120", "1,265"),
    Row {
        is_minimum: true,
        ..row(
            "plane-workspaces-rate",
            "workspaces until Ready through the proxy, two shards (-c 64 -conns 8 -n 2000), rate",
            150.0,
            "/s",
            "500",
            "2.0",
        )
    },
    row(
        "plane-workspaces-cpu",
        "the same, cpu of all processes each",
        8.0,
        "ms",
        "2",
        "919",
    ),
    row(
        "proxy-get",
        "get through the proxy (-c 64 -conns 8), the proxy's cpu",
        80.0,
        "µs",
        "45",
        "450 (-c 8)",
    ),
    row(
        "index-memory",
        "the proxy's heap per workspace, 100,000 in its index",
        128.0,
        "B",
        "",
        "",
    ),
];

// === impl Series ===

impl Series {
    pub fn name(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Requests => "requests",
            Self::Fairness => "fairness",
            Self::Workspaces => "workspaces",
            Self::Churn => "churn",
            Self::Memory => "memory",
            Self::Opening => "opening",
            Self::Plane => "plane",
            Self::Proxy => "proxy",
            Self::Index => "index",
        }
    }

    /// Of one run, about, on two cores.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Basic => 25,
            Self::Requests => 80,
            Self::Fairness => 75,
            Self::Workspaces => 200,
            Self::Churn => 500,
            Self::Memory => 60,
            Self::Opening => 300,
            Self::Plane => 20,
            Self::Proxy => 20,
            Self::Index => 60,
        }
    }

    pub fn is_long(self) -> bool {
        matches!(self, Self::Workspaces | Self::Churn | Self::Opening)
    }

    /// Counts live bytes in a test: there is no noise to take the median of, and no store below.
    pub fn counts_bytes(self) -> bool {
        matches!(self, Self::Memory | Self::Index)
    }

    /// The other programs are started beside the shard's.
    pub fn needs_all_programs(self) -> bool {
        matches!(self, Self::Plane | Self::Proxy)
    }

    pub fn fits_any_server(self) -> bool {
        matches!(self, Self::Requests | Self::Fairness)
    }

    /// The rows that have no value when this series fails.
    pub fn rows(self) -> &'static [&'static str] {
        match self {
            Self::Basic => &["start", "idle", "workspaces-rate", "workspaces-cpu", "series-0"],
            Self::Requests => &["create", "get", "list", "watch", "idle-watchers"],
            Self::Fairness => &["fairness"],
            Self::Workspaces => &[
                "workspace-memory",
                "workspace-disk",
                "series-3000",
                "get-10000",
                "create-10000",
                "watch-10000",
                "delete",
            ],
            Self::Churn => &["churn-memory", "churn-memory-again", "churn-keys", "churn-series"],
            Self::Memory => &["configmaps-memory"],
            Self::Opening => &["opening"],
            Self::Plane => &[
                "plane-start",
                "plane-idle",
                "plane-workspaces-rate",
                "plane-workspaces-cpu",
            ],
            Self::Proxy => &["proxy-get"],
            Self::Index => &["index-memory"],
        }
    }
}
