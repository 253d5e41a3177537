//! The commands that the Helm chart renders, started as local processes: etcd with TLS, two shards, front-proxy, with the
//! certificates that the chart's own job has issued into the hosting cluster.

use e2e::Chart;

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

#[test]
fn the_chart_as_rendered_is_a_control_plane() {
    let mut chart = Chart::start("separate-views");
    // Ready as the chart's probes ask it.
    chart.wait_until("the front-proxy is ready", |chart| {
        chart.kubectl().run("get --raw /readyz").succeeded()
            && chart.kubectl().run("get workspacetypes universal").succeeded()
    });
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
    chart.wait_until("both shards are registered", |chart| {
        let shards = chart.kubectl().run("get shards -o name").output;
        shards.contains("/root") && shards.contains("/alpha")
    });
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
