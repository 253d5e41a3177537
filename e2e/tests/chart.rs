//! The commands that the Helm chart renders, started as local processes: etcd with TLS, two shards, front-proxy, with the
//! certificates that the chart's own job has issued into the hosting cluster.

use e2e::Chart;

#[test]
fn the_chart_as_rendered_is_a_control_plane() {
    let mut chart = Chart::start("one-shard-more");
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
