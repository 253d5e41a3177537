use std::time::Duration;

use serde_json::json;

use super::*;
use crate::fake::Fixture;

const BINDINGS: &str = "/clusters/root:a/apis/apis.kcp.io/v1alpha2/apibindings";

fn fixture() -> Fixture {
    let fixture = Fixture::at("root:a");
    let group = json!({
        "name": "apis.kcp.io",
        "preferredVersion": {"version": "v1alpha2"},
        "versions": [{"version": "v1alpha1"}, {"version": "v1alpha2"}],
    });
    fixture
        .script
        .on("GET /clusters/root:a/apis?timeout=32s", 200, json!({"groups": [group]}));
    let resources = json!({"resources": [{"name": "apibindings"}]});
    fixture.script.on(
        "GET /clusters/root:a/apis/apis.kcp.io/v1alpha2?timeout=32s",
        200,
        resources,
    );
    fixture
}

fn binding(state: &str, phase: &str) -> Value {
    json!({
        "metadata": {"name": "pb"},
        "spec": {"permissionClaims": [{"resource": "secrets", "verbs": ["*"], "state": state}]},
        "status": {"phase": phase},
    })
}

#[tokio::test]
async fn a_binding_is_made_with_its_claims_and_awaited() {
    let fixture = fixture();
    fixture
        .script
        .on(&format!("POST {BINDINGS}"), 201, binding("Accepted", ""));
    fixture
        .script
        .on(&format!("GET {BINDINGS}/pb"), 200, binding("Accepted", "Bound"));
    let bind = BindExport {
        export: "root:p:example.io".into(),
        name: Some("pb".into()),
        timeout: Duration::from_secs(30),
        accepted: vec!["configmaps.core".into()],
        rejected: vec!["things.e.io".into()],
        ..BindExport::default()
    };
    bind.run(&fixture.session).await.expect("bound");
    assert_eq!(
        fixture.out.text(),
        "apibinding pb created. Waiting to successfully bind ...\npb created and bound.\n"
    );
    let spec = fixture.script.bodies.lock()[0]["spec"].clone();
    assert_eq!(
        spec["reference"]["export"],
        json!({"path": "root:p", "name": "example.io"})
    );
    assert_eq!(spec["permissionClaims"][0]["state"], "Accepted");
    assert_eq!(spec["permissionClaims"][1]["group"], "e.io");
    let both = BindExport {
        rejected: vec!["configmaps.core".into()],
        ..bind
    };
    assert!(both.run(&fixture.session).await.is_err());
}

#[tokio::test]
async fn claims_are_shown_and_answered() {
    let fixture = fixture();
    fixture
        .script
        .on(&format!("GET {BINDINGS}/pb"), 200, binding("Rejected", "Bound"));
    fixture
        .script
        .on(&format!("PUT {BINDINGS}/pb"), 200, binding("Accepted", "Bound"));
    let get = GetClaims {
        binding: Some("pb".into()),
    };
    get.run(&fixture.session).await.expect("shown");
    let answer = AnswerClaims {
        binding: "pb".into(),
        accept: true,
        resource: Some("secrets.core".into()),
        identity_hash: None,
    };
    answer.run(&fixture.session).await.expect("answered");
    assert_eq!(
        fixture.out.text(),
        "APIBINDING   GROUP-RESOURCE   VERBS   STATUS\npb           secrets          *       Rejected\nclaim \
         \"secrets.core\" on APIBinding \"pb\" is accepted\n"
    );
    assert_eq!(
        fixture.script.bodies.lock()[0]["spec"]["permissionClaims"][0]["state"],
        "Accepted"
    );
}
