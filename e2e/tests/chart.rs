//! The commands that the Helm chart renders, started as local processes: etcd with TLS, two and five shards, front-proxy, with
//! the certificates that the chart's own job has issued into the hosting cluster.

use std::time::Duration;

use e2e::{Chart, Client, Etcd, EtcdTls, Kubectl};

const EXPORT: &str = "apiVersion: apis.kcp.io/v1alpha1
kind: APIResourceSchema
metadata: {name: today.widgets.example.io}
spec:
  group: example.io
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {type: object}}]
---
apiVersion: apis.kcp.io/v1alpha2
kind: APIExport
metadata: {name: example.io}
spec:
  resources: [{name: widgets, group: example.io, schema: today.widgets.example.io, storage: {crd: {}}}]
";

const BINDING: &str = "apiVersion: apis.kcp.io/v1alpha2
kind: APIBinding
metadata: {name: example}
spec: {reference: {export: {path: 'root:team', name: example.io}}}
";

/// Ready as the chart's probes ask it.
fn wait_until_ready(chart: &mut Chart) {
    chart.wait_until("the front-proxy is ready", |chart| {
        chart.kubectl().run("get --raw /readyz").succeeded()
            && chart.kubectl().run("get workspacetypes universal").succeeded()
    });
}

fn wait_until_registered(chart: &mut Chart, shards: &[&str]) {
    chart.wait_until("all shards are registered", |chart| {
        let registered = chart.kubectl().run("get shards -o name").output;
        shards.iter().all(|shard| registered.contains(&format!("/{shard}\n")))
    });
}

/// A workspace on a shard, with something in it.
fn workspace_on(chart: &Chart, shard: &str, name: &str) -> Kubectl {
    let kubectl = chart.kubectl();
    kubectl
        .create(&format!(
            "apiVersion: tenancy.kcp.io/v1alpha1\nkind: Workspace\nmetadata: {{name: {name}}}\n\
             spec: {{location: {{selector: {{matchLabels: {{name: {shard}}}}}}}}}\n"
        ))
        .ok();
    kubectl
        .run(&format!(
            "wait --for=jsonpath={{.status.phase}}=Ready workspace/{name} --timeout=60s"
        ))
        .ok();
    let url = kubectl
        .run(&format!("get workspace {name} -o jsonpath={{.spec.URL}}"))
        .ok();
    let workspace = kubectl.at(url);
    workspace
        .run(&format!("create configmap x --from-literal=name={name}"))
        .ok();
    workspace
}

/// `shards: [root]` becomes `shards: [root, alpha]`, each with an etcd of its own.
#[test]
fn a_value_more_is_a_shard_more() {
    let mut chart = Chart::start("one-shard");
    wait_until_ready(&mut chart);
    let near = workspace_on(&chart, "root", "near");
    chart.upgrade("one-shard-more");
    wait_until_registered(&mut chart, &["root", "alpha"]);
    let far = workspace_on(&chart, "alpha", "far");
    for (workspace, name) in [(near, "near"), (far, "far")] {
        assert_eq!(workspace.run("get configmap x -o jsonpath={.data.name}").ok(), name);
    }
    // What ran before runs, and nothing has started a second time.
    chart.assert_all_run();
}

/// Etcds of the chart with three members and with one, somebody else's etcd and an embedded store, users with tokens.
#[test]
fn five_shards_on_stores_of_each_kind_are_a_control_plane() {
    let mut chart = Chart::prepare("five-shards");
    let server = |key: &str| chart.secret_file("kcp-etcd-delta-cert", key);
    let client = |key: &str| chart.secret_file("kcp-shard-delta-etcd-client", key);
    let etcd = Etcd::start_with_tls(EtcdTls {
        ca: server("ca.crt"),
        certificate: server("tls.crt"),
        key: server("tls.key"),
    });
    let files = ["ca.crt", "tls.crt", "tls.key"].map(|key| (key, client(key)));
    chart.give_secret("etcd", &files);
    chart.give_address("https://etcd-0.etcd:2379,https://etcd-1.etcd:2379", &etcd.url());
    let tokens = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(tokens.path(), "jane-s-token,jane,1,\"staff\"\n").expect("the tokens can be written");
    chart.give_secret("kcp-tokens", &[("tokens.csv", tokens.path().to_owned())]);
    chart.run();

    wait_until_ready(&mut chart);
    let shards = ["root", "alpha", "beta", "gamma", "delta"];
    wait_until_registered(&mut chart, &shards);
    let workspaces = shards.map(|shard| workspace_on(&chart, shard, &format!("on-{shard}")));
    for (shard, workspace) in shards.iter().zip(&workspaces) {
        let name = workspace.run("get configmap x -o jsonpath={.data.name}").ok();
        assert_eq!(name, format!("on-{shard}"));
    }
    // A user of the file is known, and may nothing; nobody else is. The issuer of the others is not there, and nobody waits.
    let port = chart.port("kcp-front-proxy:443");
    let ca = chart.secret_file("kcp-ca", "tls.crt");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let asked = |token: &str| {
        let client = Client::new(port, &ca, token);
        let path = "/clusters/root:on-beta/api/v1/namespaces/default/configmaps";
        let reply = runtime.block_on(client.get(path, Duration::from_secs(10)));
        reply.expect("an answer").code
    };
    assert_eq!((asked("jane-s-token"), asked("another")), (403, 401));
}

#[test]
fn the_chart_as_rendered_is_a_control_plane() {
    let mut chart = Chart::start("separate-views");
    wait_until_ready(&mut chart);
    let kubectl = chart.kubectl();
    kubectl
        .create("apiVersion: tenancy.kcp.io/v1alpha1\nkind: Workspace\nmetadata: {name: team}\n")
        .ok();
    kubectl
        .run("wait --for=jsonpath={.status.phase}=Ready workspace/team --timeout=60s")
        .ok();
    let url = kubectl.run("get workspace team -o jsonpath={.spec.URL}").ok();
    let team = kubectl.at(url);
    team.run("create configmap x --from-literal=a=b").ok();
    assert_eq!(team.run("get configmap x -o jsonpath={.data.a}").ok(), "b");

    // The further shard is one of the control plane, and takes what is meant for it.
    wait_until_registered(&mut chart, &["root", "alpha"]);
    let far = "apiVersion: tenancy.kcp.io/v1alpha1
kind: Workspace
metadata: {name: far}
spec: {location: {selector: {matchLabels: {name: alpha}}}}
";
    kubectl.create(far).ok();
    kubectl
        .run("wait --for=jsonpath={.status.phase}=Ready workspace/far --timeout=60s")
        .ok();
    let url = kubectl.run("get workspace far -o jsonpath={.spec.URL}").ok();
    kubectl.at(url).run("create configmap x --from-literal=a=c").ok();
    let alpha = chart.kubectl_as("kcp-metrics", "kcp-shard-alpha:6443");
    let page = alpha.run("get --raw /metrics").ok();
    let held = "kcp_logicalcluster_count{shard=\"alpha\",phase=\"Ready\"}";
    assert!(page.contains(held), "{page}");

    // What shards offer is told to the cache server, by the kubeconfig that they are given, and read with their certificates.
    let cache = chart.kubectl_as("kcp-shard-alpha-client", "kcp-cache:6443");
    let types = "get --raw /services/cache/shards/root/clusters/root/apis/tenancy.kcp.io/v1alpha1/workspacetypes";
    chart.wait_until("the cache server knows root's types", |_| {
        cache.run(types).output.contains("\"universal\"")
    });
    let administrator = chart.kubectl_as("kcp-admin", "kcp-cache:6443");
    administrator.run(types).refused();

    // Virtual workspaces are processes of their own, one a shard; the slice announces both, and each shows its consumers.
    team.create(EXPORT).ok();
    team.run("wait --for=condition=IdentityValid apiexport/example.io --timeout=60s")
        .ok();
    kubectl
        .create(
            &far.replace("name: far", "name: near")
                .replace("name: alpha", "name: root"),
        )
        .ok();
    for name in ["near", "far"] {
        kubectl
            .run(&format!(
                "wait --for=jsonpath={{.status.phase}}=Ready workspace/{name} --timeout=60s"
            ))
            .ok();
        let url = kubectl
            .run(&format!("get workspace {name} -o jsonpath={{.spec.URL}}"))
            .ok();
        let consumer = kubectl.at(url);
        consumer.create(BINDING).ok();
        consumer
            .run("wait --for=condition=Ready apibinding/example --timeout=60s")
            .ok();
        consumer
            .create("apiVersion: example.io/v1\nkind: Widget\nmetadata: {name: one, namespace: default}\n")
            .ok();
    }
    let urls = "get apiexportendpointslice example.io -o jsonpath={.status.endpoints[*].url}";
    chart.wait_until("both processes are announced", |_| {
        team.run(urls).ok().split_whitespace().count() == 2
    });
    for url in team.run(urls).ok().split_whitespace() {
        let all = team.at(format!("{url}/clusters/*"));
        let seen = all.run("get widgets -A -o jsonpath={.items[*].metadata.name}").ok();
        assert_eq!(seen, "one", "{url}");
    }

    // Prometheus' certificate may read metrics, of shards and of the front-proxy, and nothing else.
    for (service, family) in [
        ("kcp-shard-root:6443", "apiserver_request_total"),
        ("kcp-front-proxy:443", "proxy_request_duration_seconds_count"),
    ] {
        let prometheus = chart.kubectl_as("kcp-metrics", service);
        let page = prometheus.run("get --raw /metrics").ok();
        assert!(page.contains(family), "{service}: {page}");
        assert!(page.contains("process_resident_memory_bytes"), "{service}");
        prometheus.run("get --raw /clusters/root/api/v1/secrets").refused();
    }

    // The job runs again with every upgrade, and weekly: nothing changes.
    let said = chart.run_bootstrap_job();
    assert!(said.contains(" kept, issued: \n"), "{said}");
    // What is gone or does not hold is issued again.
    chart.host().run("-n kcp delete secret kcp-metrics").ok();
    chart
        .host()
        .run_with(
            &[
                "-n",
                "kcp",
                "patch",
                "secret",
                "kcp-admin",
                "-p",
                "{\"data\": {\"tls.crt\": \"bm8=\"}}",
            ],
            "",
        )
        .ok();
    let said = chart.run_bootstrap_job();
    assert!(said.contains("issued: kcp-metrics kcp-admin\n"), "{said}");
}
