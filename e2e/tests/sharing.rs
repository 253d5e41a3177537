//! A provider shares an API, consumers use it, the provider's controller sees all of it; and an initializer makes fresh
//! workspaces ready. On the embedded store and on a real etcd.

use e2e::{Etcd, Kubectl, Server};

const SCHEMA: &str = "apiVersion: apis.kcp.io/v1alpha1
kind: APIResourceSchema
metadata: {name: today.widgets.example.io}
spec:
  group: example.io
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  scope: Namespaced
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema:
      type: object
      properties:
        spec: {type: object, properties: {size: {type: integer, minimum: 1}}}
        status: {type: object, properties: {phase: {type: string}}}
    subresources: {status: {}}
---
apiVersion: apis.kcp.io/v1alpha2
kind: APIExport
metadata: {name: example.io}
spec:
  resources: [{name: widgets, group: example.io, schema: today.widgets.example.io, storage: {crd: {}}}]
  permissionClaims: [{group: '', resource: configmaps, verbs: ['*']}]
";

const BINDING: &str = "apiVersion: apis.kcp.io/v1alpha2
kind: APIBinding
metadata: {name: example}
spec:
  reference: {export: {path: 'root:provider', name: example.io}}
  permissionClaims:
  - {group: '', resource: configmaps, verbs: ['*'], state: Accepted, selector: {matchAll: true}}
";

const TYPE: &str = "apiVersion: tenancy.kcp.io/v1alpha1
kind: WorkspaceType
metadata: {name: prepared}
spec: {initializer: true, extend: {with: [{name: universal, path: root}]}}
";

fn widget(name: &str) -> String {
    format!(
        "apiVersion: example.io/v1alpha1\nkind: Widget\nmetadata: {{name: {name}, namespace: default}}\nspec: {{size: 3}}\n"
    )
}

/// The URL that is announced for the provider's controller.
fn announced(provider: &Kubectl) -> String {
    provider
        .run("wait --for=jsonpath={.status.endpoints[0].url} apiexportendpointslice/example.io --timeout=60s")
        .ok();
    provider
        .run("get apiexportendpointslice example.io -o jsonpath={.status.endpoints[0].url}")
        .ok()
}

fn consumer(server: &Server, name: &str) -> Kubectl {
    let consumer = server.create_workspace("root", name);
    consumer.create(BINDING).ok();
    consumer
        .run("wait --for=condition=Ready apibinding/example --timeout=60s")
        .ok();
    consumer
}

/// The name of a workspace's cluster.
fn cluster(server: &Server, workspace: &str) -> String {
    server
        .kubectl()
        .run(&format!("get workspace {workspace} -o jsonpath={{.spec.cluster}}"))
        .ok()
}

fn shares_an_api(server: &Server) {
    let provider = server.create_workspace("root", "provider");
    provider.create(SCHEMA).ok();
    provider
        .run("wait --for=condition=IdentityValid apiexport/example.io --timeout=60s")
        .ok();
    let (one, two) = (consumer(server, "one"), consumer(server, "two"));
    one.create(&widget("first")).ok();
    two.create(&widget("second")).ok();
    let refused = one.create(&widget("bad").replace("size: 3", "size: 0")).refused();
    assert!(refused.contains("should be greater than or equal to 1"), "{refused}");

    // One list over all consumers, with the claimed resource beside the provider's own.
    let url = announced(&provider);
    let all = provider.at(format!("{url}/clusters/*"));
    let names = all.run("get widgets -A -o jsonpath={.items[*].metadata.name}").ok();
    let mut names: Vec<&str> = names.split_whitespace().collect();
    names.sort_unstable();
    assert_eq!(names, ["first", "second"]);
    assert!(all.run("get configmaps -A").ok().contains("kube-root-ca.crt"));
    assert!(
        all.run("get secrets -A")
            .refused()
            .contains("doesn't have a resource type")
    );

    // What the controller writes, the consumer sees.
    let inside = provider.at(format!("{url}/clusters/{}", cluster(server, "one")));
    inside
        .run("patch widget first --subresource=status --type=merge -p {\"status\":{\"phase\":\"Up\"}}")
        .ok();
    assert_eq!(one.run("get widget first -o jsonpath={.status.phase}").ok(), "Up");
    inside
        .run("patch configmap kube-root-ca.crt --type=merge -p {\"metadata\":{\"labels\":{\"seen\":\"yes\"}}}")
        .ok();
    assert_eq!(
        one.run("get configmap kube-root-ca.crt -o jsonpath={.metadata.labels.seen}")
            .ok(),
        "yes"
    );

    // A second owner of the resource is told who has it.
    one.create(&BINDING.replace("name: example}", "name: again}")).ok();
    one.run("wait --for=condition=BindingUpToDate=False apibinding/again --timeout=60s")
        .ok();
    let why = one.run("get apibinding again -o yaml").ok();
    assert!(
        why.contains("NamingConflicts") && why.contains("widgets.example.io"),
        "{why}"
    );

    // Unbound, the API is gone, and so are its objects.
    two.run("delete apibinding example --timeout=60s").ok();
    let refused = two.run("get widgets").refused();
    // With or without the discovery that kubectl remembers.
    let gone = ["could not find the requested resource", "doesn't have a resource type"];
    assert!(gone.iter().any(|text| refused.contains(text)), "{refused}");
    assert_eq!(
        all.run("get widgets -A -o jsonpath={.items[*].metadata.name}").ok(),
        "first"
    );
}

/// Names of all widgets that a URL of the export shows, sorted.
fn widgets_at(provider: &Kubectl, url: &str) -> Vec<String> {
    let all = provider.at(format!("{url}/clusters/*"));
    let names = all.run("get widgets -A -o jsonpath={.items[*].metadata.name}").ok();
    let mut names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
    names.sort_unstable();
    names
}

/// A consumer on a shard. Who may bind is told from shard to shard, as in kcp: a right is known there a moment after it was given.
fn consumer_on(server: &mut Server, shard: &str, name: &str) -> Kubectl {
    let consumer = server.create_workspace_on(shard, "root", name);
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

fn shares_an_api_across_shards(server: &mut Server) {
    let provider = server.create_workspace_on("shard-1", "root", "provider");
    provider.create(SCHEMA).ok();
    provider
        .run("wait --for=condition=IdentityValid apiexport/example.io --timeout=60s")
        .ok();
    // Nobody waits for the export to be known on the other shard.
    let near = consumer_on(server, "root", "near");
    let beside = consumer_on(server, "shard-1", "beside");
    near.create(&widget("near")).ok();
    beside.create(&widget("beside")).ok();

    // One URL a shard; each shows its own consumers, with what is claimed.
    let urls = r"get apiexportendpointslice example.io -o jsonpath={.status.endpoints[*].url}";
    server.wait_until("both shards have announced themselves", |_| {
        provider.run(urls).ok().split_whitespace().count() == 2
    });
    let urls = provider.run(urls).ok();
    let urls: Vec<&str> = urls.split_whitespace().collect();
    let mut seen: Vec<String> = urls.iter().flat_map(|url| widgets_at(&provider, url)).collect();
    seen.sort_unstable();
    assert_eq!(seen, ["beside", "near"]);
    for url in &urls {
        let all = provider.at(format!("{url}/clusters/*"));
        assert!(all.run("get configmaps -A").ok().contains("kube-root-ca.crt"));
    }

    // With the provider's shard gone consumers go on, and there are new ones.
    server.signal("shard-1/kcp", "STOP");
    near.create(&widget("later")).ok();
    let new = consumer_on(server, "root", "new");
    new.create(&widget("new")).ok();

    // It comes back; what is not consumed any more is not announced.
    server.signal("shard-1/kcp", "CONT");
    for consumer in [near, new] {
        consumer.run("delete apibinding example --timeout=60s").ok();
    }
    server.wait_until("one URL is left", |_| {
        let left = provider.run("get apiexportendpointslice example.io -o jsonpath={.status.endpoints[*].url}");
        left.succeeded() && left.ok().split_whitespace().count() == 1
    });
}

#[test]
fn an_api_is_shared_across_shards_and_outlives_the_providers_shard() {
    shares_an_api_across_shards(&mut Server::up(2, &[]));
}

#[test]
fn an_api_is_shared_across_shards_on_etcds() {
    let etcds = [Etcd::start(), Etcd::start()];
    shares_an_api_across_shards(&mut Server::up_on(&etcds));
}

fn initializes_workspaces(server: &Server) {
    let root = server.kubectl();
    root.create(TYPE).ok();
    root.run("wait --for=condition=Ready workspacetype/prepared --timeout=60s")
        .ok();
    let url = root
        .run("get workspacetype prepared -o jsonpath={.status.virtualWorkspaces[0].url}")
        .ok();
    let document = "apiVersion: tenancy.kcp.io/v1alpha1\nkind: Workspace\nmetadata: {name: fresh}\nspec: {type: {name: prepared, path: root}}\n";
    root.create(document).ok();
    root.run("wait --for=jsonpath={.status.initializers[0]}=root:prepared workspace/fresh --timeout=60s")
        .ok();
    let waiting = root.at(format!("{url}/clusters/*"));
    assert!(waiting.run("get logicalclusters").ok().contains("Initializing"));
    let inside = root.at(format!("{url}/clusters/{}", cluster(server, "fresh")));
    inside
        .apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: greeting, namespace: default}\n")
        .ok();
    inside
        .run("patch logicalcluster cluster --subresource=status --type=merge -p {\"status\":{\"initializers\":[]}}")
        .ok();
    root.run("wait --for=jsonpath={.status.phase}=Ready workspace/fresh --timeout=60s")
        .ok();
    server.workspace("root:fresh").run("get configmap greeting").ok();
    assert!(!waiting.run("get logicalclusters").ok().contains("Initializing"));
}

#[test]
fn an_api_is_shared_on_the_embedded_store() {
    shares_an_api(&Server::start());
}

#[test]
fn an_api_is_shared_on_etcd() {
    let etcd = Etcd::start();
    shares_an_api(&Server::start_on(&etcd));
}

#[test]
fn an_initializer_prepares_workspaces_on_the_embedded_store() {
    initializes_workspaces(&Server::start());
}

#[test]
fn an_initializer_prepares_workspaces_on_etcd() {
    let etcd = Etcd::start();
    initializes_workspaces(&Server::start_on(&etcd));
}

#[test]
fn an_api_is_shared_through_the_program_of_virtual_workspaces() {
    shares_an_api(&Server::up(1, &[]));
}

#[test]
fn an_initializer_prepares_workspaces_through_the_program_of_virtual_workspaces() {
    initializes_workspaces(&Server::up(1, &[]));
}

#[test]
fn virtual_workspaces_go_and_come_with_their_program_and_their_shard() {
    let mut server = Server::up(1, &[]);
    let provider = server.create_workspace("root", "provider");
    provider.create(SCHEMA).ok();
    provider
        .run("wait --for=condition=IdentityValid apiexport/example.io --timeout=60s")
        .ok();
    let one = consumer(&server, "one");
    one.create(&widget("first")).ok();
    let url = announced(&provider);
    let all = provider.at(format!("{url}/clusters/*"));
    let widgets = "get widgets -A -o jsonpath={.items[*].metadata.name} --request-timeout=10s";
    assert_eq!(all.run(widgets).ok(), "first");
    // The shard does not serve them beside it; the front-proxy leads to the program.
    let path = url.split_once("/services/").expect("a path of services").1.to_owned();
    let through = provider.at(format!("{}/services/{path}/clusters/*", server.url()));
    assert_eq!(through.run(widgets).ok(), "first");
    let kubeconfig = std::fs::read_to_string(server.kubeconfig().with_file_name("component.kubeconfig"));
    let kubeconfig = kubeconfig.expect("the component's kubeconfig");
    let shard = kubeconfig.split("server: ").nth(1).and_then(|rest| rest.lines().next());
    let shard = shard.expect("a server").trim_matches('"');
    let inside = provider.at(format!("{shard}/services/{path}/clusters/*"));
    let refused = inside.run("get --raw /services/apiexport").refused();
    assert!(
        refused.contains("Path not resolved to a valid virtual workspace"),
        "{refused}"
    );

    // Ended, it is started again and knows everything: it keeps nothing.
    server.signal("root/virtual-workspaces", "KILL");
    server.wait_until("it serves again", |_| all.run(widgets).succeeded());
    one.create(&widget("second")).ok();
    assert_eq!(widgets_at(&provider, &url), ["first", "second"]);

    // Frozen, it takes the shard's own answers with it as little as it keeps others waiting.
    server.signal("root/virtual-workspaces", "STOP");
    one.create(&widget("third")).ok();
    server.signal("root/virtual-workspaces", "CONT");
    server.wait_until("it goes on", |_| all.run(widgets).succeeded());

    // With the shard frozen it says so (kubectl asks some times), and goes on with it.
    server.signal("root/kcp", "STOP");
    let refused = all.run("get --raw /services/none").refused();
    server.signal("root/kcp", "CONT");
    assert!(refused.contains("the shard that holds it"), "{refused}");
    server.wait_until("it goes on with its shard", |_| all.run(widgets).succeeded());
    assert_eq!(widgets_at(&provider, &url), ["first", "second", "third"]);

    // The shard anew: nothing needs a hand.
    server.signal("root/kcp", "KILL");
    server.wait_until("it finds the shard again", |_| all.run(widgets).succeeded());
}
