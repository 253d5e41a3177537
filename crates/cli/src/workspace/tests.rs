use serde_json::json;

use super::*;
use crate::fake::Fixture;
use crate::kubeconfig::Section;

const WORKSPACES: &str = "apis/tenancy.kcp.io/v1alpha1/workspaces";

fn workspace(name: &str, phase: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"type": {"name": "universal", "path": "root"}, "URL": format!("https://h:1/clusters/root:a:{name}")},
        "status": {"phase": phase},
    })
}

async fn go(fixture: &mut Fixture, to: &str) -> anyhow::Result<()> {
    let to = Some(to.to_owned()).filter(|to| !to.is_empty());
    Switch { to, short: false }.run(&mut fixture.session).await
}

#[tokio::test]
async fn a_switch_asks_in_kcps_order_and_moves_the_kubeconfig() {
    let mut fixture = Fixture::at("root:a");
    fixture.serve("root:a:b");
    fixture.script.on(
        &format!("GET /clusters/root:a/{WORKSPACES}/b"),
        200,
        workspace("b", "Ready"),
    );
    go(&mut fixture, "b").await.expect("let in");
    assert_eq!(
        fixture.asked(),
        [
            "GET /clusters/root:a:b/api",
            "GET /clusters/root:a:b/apis",
            "GET /clusters/root:a/apis/tenancy.kcp.io/v1alpha1/workspaces/b",
            "GET /clusters/root:a:b/apis/apis.kcp.io/v1alpha2/apibindings",
        ]
    );
    assert_eq!(
        fixture.out.text(),
        "Current workspace is 'root:a:b' (type root:universal).\n"
    );
    let config = &fixture.session.kubeconfig;
    assert_eq!(config.current_context(), CURRENT);
    assert_eq!(
        config.get(Section::Contexts, PREVIOUS).expect("kept")["cluster"],
        "base"
    );

    go(&mut fixture, "-").await.expect("there is a way back");
    assert_eq!(fixture.session.workspace().expect("one").path.as_str(), "root:a");
    go(&mut fixture, "-").await.expect("and again");
    assert_eq!(fixture.session.workspace().expect("one").path.as_str(), "root:a:b");
    assert!(
        fixture
            .out
            .text()
            .ends_with("Current workspace is 'root:a'.\nCurrent workspace is 'root:a:b'.\n")
    );
}

#[tokio::test]
async fn refuses_what_is_not_there_and_leaves_the_kubeconfig() {
    let mut fixture = Fixture::at("root:a");
    let why = go(&mut fixture, "nope").await.expect_err("absent");
    assert_eq!(why.to_string(), "the server could not find the requested resource");
    let forbidden = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403});
    fixture.script.on("GET /clusters/root:a:x/api", 403, forbidden.clone());
    let why = go(&mut fixture, "x").await.expect_err("hidden");
    assert_eq!(why.to_string(), "workspace \"root:a:x\" not found");
    fixture
        .script
        .on(&format!("GET /clusters/root:a/{WORKSPACES}/x"), 403, forbidden);
    let why = go(&mut fixture, "x").await.expect_err("hidden");
    assert_eq!(why.to_string(), "access to workspace \"root:a:x\" denied");
    assert_eq!(fixture.session.kubeconfig.current_context(), "base");
}

#[tokio::test]
async fn nothing_typed_goes_home() {
    let mut fixture = Fixture::at("root:a");
    let home = json!({"spec": {"URL": "https://h:1/clusters/kvdk2spgmbix"}});
    fixture
        .script
        .on(&format!("GET /clusters/root/{WORKSPACES}/~"), 200, home);
    fixture.serve("kvdk2spgmbix");
    go(&mut fixture, "").await.expect("let in");
    assert_eq!(fixture.out.text(), "Current workspace is 'kvdk2spgmbix'.\n");
    assert!(
        fixture
            .err
            .text()
            .starts_with("Note: 'kubectl ws' now matches 'cd' semantics")
    );
    assert_eq!(
        fixture.asked()[3],
        "GET /clusters/apis/tenancy.kcp.io/v1alpha1/workspaces/kvdk2spgmbix"
    );
}

#[tokio::test]
async fn the_way_up_does_not_ask_the_parent() {
    let mut fixture = Fixture::at("root:a:b");
    fixture.serve("root:a");
    go(&mut fixture, "..").await.expect("let in");
    assert_eq!(fixture.asked().len(), 3);
    assert_eq!(fixture.out.text(), "Current workspace is 'root:a'.\n");
}

#[tokio::test]
async fn a_tree_is_drawn() {
    let fixture = Fixture::at("root:a");
    let list = |names: &[&str]| json!({"items": names.iter().map(|n| workspace(n, "Ready")).collect::<Vec<_>>()});
    fixture
        .script
        .on(&format!("GET /clusters/root:a/{WORKSPACES}"), 200, list(&["b", "c"]));
    let mut child = list(&["d"]);
    child["items"][0]["spec"]["mount"] = json!({});
    fixture
        .script
        .on(&format!("GET /clusters/root:a:b/{WORKSPACES}"), 200, child);
    Tree::default().run(&fixture.session).await.expect("drawn");
    assert_eq!(
        fixture.out.text(),
        ".\n└── a\n    ├── b\n    │   └── d [m]\n    └── c\n\n"
    );
}

#[tokio::test]
async fn a_new_workspace_is_awaited_and_gets_a_context() {
    let mut fixture = Fixture::at("root:a");
    fixture
        .script
        .on(&format!("POST /clusters/root:a/{WORKSPACES}"), 201, workspace("n", ""));
    fixture.script.on(
        &format!("GET /clusters/root:a/{WORKSPACES}/n"),
        200,
        workspace("n", "Ready"),
    );
    let create = CreateWorkspace {
        name: "n".into(),
        create_context: Some("mine".into()),
        ..CreateWorkspace::default()
    };
    create.run(&mut fixture.session).await.expect("made");
    assert_eq!(
        fixture.out.text(),
        "Workspace \"n\" (type root:universal) created. Waiting for it to be ready...\nWorkspace \"n\" (type \
         root:universal) is ready to use.\nCreated context \"mine\".\n"
    );
    let cluster = fixture.session.kubeconfig.get(Section::Clusters, "mine").expect("made");
    assert_eq!(cluster["server"], "https://h:1/clusters/root:a:n");
    assert_eq!(fixture.session.kubeconfig.current_context(), "base");
}

#[test]
fn a_context_is_not_overwritten_unasked() {
    let mut fixture = Fixture::at("root:a");
    let mine = CreateContext {
        name: Some("mine".into()),
        ..CreateContext::default()
    };
    mine.run(&mut fixture.session).expect("new");
    let why = mine.run(&mut fixture.session).expect_err("there");
    assert_eq!(
        why.to_string(),
        "context \"mine\" already exists in kubeconfig, use --overwrite to update it"
    );
    assert_eq!(fixture.out.text(), "Created context \"mine\" and switched to it.\n");
}
