//! What a person does with a control plane in the first hour, against the real binary and with the real kubectl.

use e2e::{Kubectl, Server};

const CONFIG: &str = "apiVersion: v1
kind: ConfigMap
metadata: {name: config, namespace: default, labels: {app: web}}
data: {key: one}
";

const SECRET: &str = "apiVersion: v1
kind: Secret
metadata: {name: password, namespace: default}
stringData: {key: open sesame}
";

/// A definition of the API `widgets.example.io` whose spec has one field.
fn widgets(field: &str, schema: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: widgets.example.io}}
spec:
  group: example.io
  names: {{kind: Widget, listKind: WidgetList, plural: widgets, singular: widget}}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {{{field}: {schema}}}
"
    )
}

fn widget(spec: &str) -> String {
    format!("apiVersion: example.io/v1\nkind: Widget\nmetadata: {{name: w, namespace: default}}\nspec: {{{spec}}}\n")
}

fn define(kubectl: &Kubectl, definition: &str) {
    kubectl.create(definition).ok();
    kubectl
        .run("wait --for=condition=Established crd/widgets.example.io --timeout=60s")
        .ok();
}

#[test]
fn a_workspace_is_a_cluster_of_its_own() {
    let server = Server::start();
    let root = server.kubectl();
    assert!(root.run("version").ok().contains("Server Version: v1."));
    let types = root.run("get workspacetypes -o name").ok();
    for name in ["home", "organization", "root", "team", "universal"] {
        assert!(
            types.contains(&format!("workspacetype.tenancy.kcp.io/{name}\n")),
            "{types}"
        );
    }

    let team = server.create_workspace("root", "team-a");
    assert!(root.run("get workspaces").ok().contains("Ready"));
    assert!(team.create(CONFIG).ok().contains("configmap/config created"));
    assert!(team.create(SECRET).ok().contains("secret/password created"));
    let everywhere = team.run("get configmaps,secrets -A").ok();
    assert!(
        everywhere.contains("configmap/config") && everywhere.contains("secret/password"),
        "{everywhere}"
    );
    assert_eq!(
        team.run("get secret password -o jsonpath={.data.key}").ok(),
        "b3BlbiBzZXNhbWU="
    );
    assert!(
        root.run("get configmap config")
            .refused()
            .contains("configmaps \"config\" not found")
    );

    let below = server.create_workspace("root:team-a", "below");
    assert!(below.run("get configmap config").refused().contains("NotFound"));
    below.create(CONFIG).ok();
    team.run("delete configmap config").ok();
    below.run("get configmap config").ok();
}

#[test]
fn objects_are_applied_patched_selected_and_deleted() {
    let server = Server::start();
    let team = server.create_workspace("root", "team-a");
    assert_eq!(team.apply(CONFIG).ok(), "configmap/config created\n");
    assert_eq!(team.apply(CONFIG).ok(), "configmap/config unchanged\n");
    assert_eq!(
        team.apply(&CONFIG.replace("one", "two")).ok(),
        "configmap/config configured\n"
    );

    // Another manager may take a field over only when it says so.
    let server_side = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let refused = team.run_with(&server_side, &CONFIG.replace("one", "three")).refused();
    assert!(
        refused.contains("conflict") && refused.contains(".data.key"),
        "{refused}"
    );
    let forced = [&server_side[..], &["--force-conflicts"]].concat();
    team.run_with(&forced, &CONFIG.replace("one", "three")).ok();
    assert_eq!(team.run("get configmap config -o jsonpath={.data.key}").ok(), "three");

    team.run("patch configmap config -p {\"data\":{\"key\":\"four\"}}").ok();
    assert_eq!(team.run("get configmap config -o jsonpath={.data.key}").ok(), "four");
    assert_eq!(team.run("get configmap -l app=web -o name").ok(), "configmap/config\n");
    assert_eq!(team.run("get configmap -l app=other -o name").ok(), "");
    team.run("delete configmap config").ok();
    assert!(team.run("get configmap config").refused().contains("NotFound"));
}

#[test]
fn kubectl_finds_out_what_there_is() {
    let server = Server::start();
    let team = server.create_workspace("root", "team-a");
    let refused = team.run("get pods").refused();
    assert!(
        refused.contains("the server doesn't have a resource type \"pods\""),
        "{refused}"
    );
    let resources = team.run("api-resources -o name").ok();
    for name in [
        "configmaps",
        "secrets",
        "workspaces.tenancy.kcp.io",
        "apibindings.apis.kcp.io",
    ] {
        assert!(resources.lines().any(|line| line == name), "{resources}");
    }
    assert!(
        team.run("explain configmap.data")
            .ok()
            .contains("FIELD: data <map[string]string>")
    );
    assert!(
        team.run("get --raw /clusters/root:team-a/version")
            .ok()
            .contains("gitVersion")
    );
}

#[test]
fn workspaces_define_the_same_api_differently() {
    let server = Server::start();
    let a = server.create_workspace("root", "team-a");
    let b = server.create_workspace("root", "team-b");
    define(&a, &widgets("size", "{type: integer, minimum: 1}"));
    define(&b, &widgets("color", "{type: string}"));

    assert!(a.apply(&widget("size: 3")).ok().contains("widget.example.io/w created"));
    assert!(
        b.apply(&widget("color: red"))
            .ok()
            .contains("widget.example.io/w created")
    );
    assert!(
        b.apply(&widget("size: 3"))
            .refused()
            .contains("unknown field \"spec.size\"")
    );
    let refused = a.apply(&widget("size: 0")).refused();
    assert!(refused.contains("spec.size: Invalid value: 0"), "{refused}");
    assert!(a.run("explain widget.spec").ok().contains("size\t<integer>"));
    assert!(b.run("explain widget.spec").ok().contains("color\t<string>"));
    assert_eq!(a.run("get widgets -o jsonpath={.items[*].spec}").ok(), "{\"size\":3}");
    assert!(
        server
            .kubectl()
            .run("get widgets")
            .refused()
            .contains("doesn't have a resource type")
    );
}

#[test]
fn a_deleted_workspace_is_gone() {
    let server = Server::start();
    let root = server.kubectl();
    let team = server.create_workspace("root", "team-a");
    team.create(CONFIG).ok();
    root.run("delete workspace team-a --timeout=60s").ok();
    assert!(root.run("get workspace team-a").refused().contains("NotFound"));
    assert!(team.run("get configmaps").refused().contains("NotFound"));

    // The name is free again, and nothing of the former workspace shows.
    let team = server.create_workspace("root", "team-a");
    assert!(team.run("get configmap config").refused().contains("NotFound"));
}

#[test]
fn a_killed_server_has_lost_nothing() {
    let mut server = Server::start();
    let team = server.create_workspace("root", "team-a");
    define(&team, &widgets("size", "{type: integer}"));
    team.apply(&widget("size: 7")).ok();
    team.apply(CONFIG).ok();
    let before = team
        .run("get configmap,widget -o jsonpath={.items[*].metadata.resourceVersion}")
        .ok();

    server.kill_and_restart();
    assert!(server.kubectl().run("get workspace team-a").ok().contains("Ready"));
    let after = team
        .run("get configmap,widget -o jsonpath={.items[*].metadata.resourceVersion}")
        .ok();
    assert_eq!(after, before);
    assert_eq!(team.run("get widget w -o jsonpath={.spec.size}").ok(), "7");
    team.apply(&widget("size: 8")).ok();
    server.create_workspace("root:team-a", "below");
}

#[test]
fn ends_by_itself_when_asked_to() {
    let server = Server::start();
    server.create_workspace("root", "team-a");
    let status = server.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn kubectl_asks_for_access_and_identity() {
    let server = Server::start();
    let team = server.create_workspace("root", "team-a");
    assert_eq!(team.run("auth can-i create configmaps").ok(), "yes\n");
    assert!(team.run("auth whoami").ok().contains("kcp-admin"));
    team.run("create configmap literal --from-literal=key=one").ok();
}
