//! An application spread over two shards of different regions outlives either: workspaces by region, and the provider's
//! controller at each region's own URL, by Partitions.

use std::time::Duration;

use e2e::{Client, Etcd, Kubectl, Server, Watching};
use tokio::runtime::Runtime;

const PROVIDED: &str = "apiVersion: apis.kcp.io/v1alpha1
kind: APIResourceSchema
metadata: {name: today.widgets.example.io}
spec:
  group: example.io
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  scope: Cluster
  versions:
  - name: v1
    served: true
    storage: true
    schema: {type: object, properties: {spec: {type: object}}}
---
apiVersion: apis.kcp.io/v1alpha2
kind: APIExport
metadata: {name: example.io}
spec:
  resources: [{name: widgets, group: example.io, schema: today.widgets.example.io, storage: {crd: {}}}]
---
apiVersion: topology.kcp.io/v1alpha1
kind: PartitionSet
metadata: {name: regions}
spec:
  dimensions: [region]
  shardSelector: {matchExpressions: [{key: retired, operator: DoesNotExist}]}
";

/// The provider's controller is a service account of its workspace.
const CONTROLLER: &str = "apiVersion: v1
kind: ServiceAccount
metadata: {name: robot, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: robot}
rules:
- {apiGroups: [apis.kcp.io], resources: [apiexports/content], resourceNames: [example.io], verbs: ['*']}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: robot}
subjects: [{kind: ServiceAccount, name: robot, namespace: default}]
roleRef: {kind: ClusterRole, name: robot, apiGroup: rbac.authorization.k8s.io}
";

const BINDING: &str = "apiVersion: apis.kcp.io/v1alpha2
kind: APIBinding
metadata: {name: example}
spec: {reference: {export: {path: 'root:provider', name: example.io}}}
";

const BOUND: Duration = Duration::from_secs(60);

/// What one region has of the application.
struct Region {
    name: &'static str,
    shard: &'static str,
    consumer: Kubectl,
    token: String,
    url: String,
    watching: Watching,
}

fn widget(name: &str) -> String {
    format!("apiVersion: example.io/v1\nkind: Widget\nmetadata: {{name: {name}}}\n")
}

/// A slice of the partition of a region; the one URL that it announces once there is a consumer.
fn slice(provider: &Kubectl, region: &str) {
    let named = format!(
        r#"-o jsonpath={{range.items[?(@.spec.selector.matchLabels.region=="{region}")]}}{{.metadata.name}}{{end}}"#
    );
    let partition = provider.run(&format!("get partitions {named}")).ok();
    assert!(partition.starts_with(&format!("regions-{region}-")), "{partition}");
    let document = format!(
        "apiVersion: apis.kcp.io/v1alpha1\nkind: APIExportEndpointSlice\nmetadata: {{name: {region}}}\n\
         spec: {{export: {{name: example.io}}, partition: {partition}}}\n"
    );
    provider.create(&document).ok();
    provider
        .run(&format!(
            "wait --for=condition=PartitionValid apiexportendpointslice/{region} --timeout=60s"
        ))
        .ok();
}

fn urls(provider: &Kubectl, slice: &str) -> Vec<String> {
    let found = provider.run(&format!(
        "get apiexportendpointslice {slice} -o jsonpath={{.status.endpoints[*].url}}"
    ));
    found.ok().split_whitespace().map(str::to_owned).collect()
}

fn consume(server: &mut Server, region: &str, name: &str) -> Kubectl {
    let consumer = server.create_workspace_by(("region", region), "root", name);
    server.wait_until("the right to bind is known on its shard", |_| {
        let answer = consumer.create(BINDING);
        if answer.errors.contains("no permission to bind") {
            return false;
        }
        answer.ok();
        true
    });
    consumer
        .run("wait --for=condition=Ready apibinding/example --timeout=60s")
        .ok();
    consumer
}

/// The provider's controller at a URL of its export, with the token of its account.
fn watch(runtime: &Runtime, server: &mut Server, token: &str, url: &str) -> Watching {
    let (port, path) = url
        .strip_prefix("https://localhost:")
        .or_else(|| url.strip_prefix("https://127.0.0.1:"))
        .and_then(|rest| rest.split_once('/'))
        .expect("a URL of this machine");
    let client = Client::new(port.parse().expect("a port"), &server.file("pki/server-ca.crt"), token);
    let path = format!("/{path}/clusters/*/apis/example.io/v1/widgets?watch=1");
    let mut watching = None;
    server.wait_until("its shard knows what the account may", |_| {
        match runtime.block_on(client.watch(&path, BOUND)) {
            Ok(Ok(begun)) => watching = Some(begun),
            Ok(Err(refused)) => assert!([403, 503].contains(&refused.code), "{refused:?}"),
            Err(_) => {}
        }
        watching.is_some()
    });
    watching.expect("it has begun")
}

// === impl Region ===

impl Region {
    fn begin(
        runtime: &Runtime,
        server: &mut Server,
        provider: &Kubectl,
        name: &'static str,
        shard: &'static str,
    ) -> Self {
        slice(provider, name);
        let consumer = consume(server, name, name);
        let annotation = r"{.metadata.annotations.core\.kcp\.io/shard}";
        let placed = server
            .kubectl()
            .run(&format!("get workspace {name} -o jsonpath={annotation}"));
        assert_eq!(placed.ok(), shard);
        server.wait_until("the region's URL is announced", |_| urls(provider, name).len() == 1);
        let url = urls(provider, name).remove(0);
        let token = provider.run("create token robot").ok().trim().to_owned();
        let watching = watch(runtime, server, &token, &url);
        Self {
            name,
            shard,
            consumer,
            token,
            url,
            watching,
        }
    }

    /// A consumer makes something, and the provider's controller sees it, on the watch that it has had all along.
    fn works(&mut self, runtime: &Runtime, name: &str) {
        self.consumer.create(&widget(name)).ok();
        let seeing = async {
            loop {
                let event = self.watching.next().await.expect("the watch is not cut");
                if event.expect("nor over")["object"]["metadata"]["name"] == name {
                    return;
                }
            }
        };
        let seeing = async { tokio::time::timeout(BOUND, seeing).await };
        runtime.block_on(seeing).expect("it is told in time");
    }
}

#[test]
fn an_application_in_two_regions_outlives_either() {
    outlives_either_region(Server::up(3, &[]));
}

#[test]
fn an_application_in_two_regions_outlives_either_on_etcds() {
    let etcds = [Etcd::start(), Etcd::start(), Etcd::start()];
    outlives_either_region(Server::up_on(&etcds));
}

fn outlives_either_region(mut server: Server) {
    let runtime = Runtime::new().expect("a runtime");
    let root = server.kubectl();
    for (shard, region) in [("root", "home"), ("shard-1", "east"), ("shard-2", "west")] {
        root.run(&format!("label shard {shard} region={region}")).ok();
    }
    // The application's own workspace is in one of the regions that are to be lost.
    let provider = server.create_workspace_by(("region", "east"), "root", "provider");
    provider.create(PROVIDED).ok();
    provider.create(CONTROLLER).ok();
    provider
        .run("wait --for=jsonpath={.status.count}=3 partitionset/regions --timeout=60s")
        .ok();
    provider
        .run("wait --for=condition=PartitionsReady partitionset/regions --timeout=60s")
        .ok();
    let mut east = Region::begin(&runtime, &mut server, &provider, "east", "shard-1");
    let mut west = Region::begin(&runtime, &mut server, &provider, "west", "shard-2");
    let announced = [urls(&provider, "east"), urls(&provider, "west")].concat();
    server.wait_until("the slice without a partition announces both", |_| {
        let mut all = urls(&provider, "example.io");
        all.sort_unstable();
        all.len() == 2 && announced.iter().all(|url| all.contains(url))
    });
    assert_ne!(announced[0], announced[1]);
    east.works(&runtime, "before");
    west.works(&runtime, "before");

    lose(&mut server, &runtime, &mut east, &mut west, "first");
    lose(&mut server, &runtime, &mut west, &mut east, "second");

    // What admins have said of shards outlives their processes.
    for part in ["root/kcp", "shard-1/kcp"] {
        server.signal(part, "KILL");
    }
    server.wait_until("they serve again", |_| {
        let starts = r"get shard shard-1 -o jsonpath={.metadata.annotations.internal\.kcp\.io/shard-starts}";
        let answer = root.run(starts);
        answer.succeeded() && answer.ok() == "2"
    });
    let regions = "get shards -o jsonpath={.items[*].metadata.labels.region}";
    assert_eq!(root.run(regions).ok(), "home east west");
    server.wait_until("partitions are as they were", |_| {
        let named = provider.run("get apiexportendpointslices,partitions -o name");
        named.succeeded() && named.ok().lines().count() == 6
    });
    assert_eq!([urls(&provider, "east"), urls(&provider, "west")].concat(), announced);
}

/// One region is lost: the other one goes on, with new consumers, too; what asks for the lost one waits for it.
fn lose(server: &mut Server, runtime: &Runtime, left: &mut Region, lost: &mut Region, round: &str) {
    let root = server.kubectl();
    server.signal(&format!("{}/kcp", lost.shard), "STOP");
    server.wait_until("the lost part says so", |_| {
        let asked = lost.consumer.run("get widgets --request-timeout=5s");
        !asked.succeeded() && asked.refused().contains("cannot be reached")
    });
    left.works(runtime, &format!("{round}-during"));
    let new = consume(server, left.name, &format!("{round}-new"));
    let former = std::mem::replace(&mut left.consumer, new);
    left.works(runtime, &format!("{round}-new"));
    left.consumer = former;

    let waiting = format!("{round}-waiting");
    server.ask_for_workspace_by(("region", lost.name), "root", &waiting);
    root.run(&format!(
        "wait --for=condition=WorkspaceScheduled=false workspace/{waiting} --timeout=60s"
    ))
    .ok();
    let why = r#"{.status.conditions[?(@.type=="WorkspaceScheduled")].message}"#;
    let why = root.run(&format!("get workspace {waiting} -o jsonpath={why}")).ok();
    assert!(why.ends_with(&format!("{} cannot be reached", lost.shard)), "{why}");

    server.signal(&format!("{}/kcp", lost.shard), "CONT");
    root.run(&format!(
        "wait --for=jsonpath={{.status.phase}}=Ready workspace/{waiting} --timeout=60s"
    ))
    .ok();
    server.wait_until("it serves again", |_| lost.consumer.run("get widgets").succeeded());
    // Its own watch may have been cut; the provider comes again.
    lost.watching = watch(runtime, server, &lost.token, &lost.url);
    lost.works(runtime, &format!("{round}-after"));
}
