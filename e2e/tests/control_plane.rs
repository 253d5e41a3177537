//! A control plane of several processes looks like one server: `kcp up`, with everything through the front-proxy.

use e2e::Server;

const CONFIG: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: config, namespace: default}
data: {key: one}
";

#[test]
fn one_shard_behind_a_proxy_is_as_without() {
    let mut server = Server::up(1, &[]);
    let team = server.create_workspace("root", "team");
    team.create(CONFIG).ok();
    let deep = server.create_workspace("root:team", "deep");
    deep.create(CONFIG).ok();
    assert_eq!(deep.run("get configmap config -o jsonpath={.data.key}").ok(), "one");
    assert!(team.run("api-resources").ok().contains("workspaces"));

    // Gone in its parent is gone behind the proxy, and the same name can be used again at once.
    server.kubectl().run("delete workspace team --timeout=60s").ok();
    let raw = |path: &str| format!("get --raw /clusters/{path}/api/v1/configmaps");
    let gone = team.run(&raw("root:team")).refused();
    let never = team.run(&raw("root:never")).refused();
    assert_eq!(gone.replace("team", "never"), never);
    let again = server.create_workspace("root", "team");
    assert!(!again.run("get configmaps -o name").ok().contains("configmap/config"));

    // The proxy starts again by itself, and so does the shard; nothing acknowledged is lost.
    again.create(CONFIG).ok();
    for part in ["front-proxy", "root/kcp"] {
        server.signal(part, "KILL");
        server.wait_until("it serves again", |_| again.run("get configmap config").succeeded());
    }
}

#[test]
fn strangers_learn_nothing_at_the_proxy() {
    let server = Server::up(1, &[]);
    server.create_workspace("root", "team");
    // Without credentials that hold: known and unknown paths look alike.
    let kubectl = server.kubectl();
    let nobody = |path: &str| {
        let asked = kubectl.run(&format!("get --raw /clusters/{path}/api --token=wrong"));
        asked.refused()
    };
    let known = nobody("root:team");
    assert!(known.contains("logged in"), "{known}");
    assert_eq!(known, nobody("root:nope"));
    // All clusters at once are for nobody.
    let all = kubectl.run("get --raw /clusters/*/api").refused();
    assert!(
        all.contains("workspace access not permitted") || all.contains("orbidden"),
        "{all}"
    );
}
