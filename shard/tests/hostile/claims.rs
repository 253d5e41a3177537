//! A tenant's objects that cannot be labelled keep no others from whoever claims them.

use serde_json::{Value, json};

use crate::world::{Client, World, eventually};

/// Its quotes take two bytes each where it is stored, so that it is as large as the store takes before it is as large as a
/// ConfigMap may be.
fn config_map(name: &str, plain: usize) -> Value {
    let data = json!({"quotes": "\"".repeat(700_000), "plain": "x".repeat(plain)});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// Makes the largest ConfigMap that the store takes, to the byte.
async fn fill(client: &Client, maps: &str, name: &str) {
    let (mut fits, mut refused) = (0, 300_000);
    while refused - fits > 1 {
        let middle = (fits + refused) / 2;
        let answer = client.send("POST", maps, &config_map(name, middle)).await;
        match answer.code {
            201 => {
                fits = middle;
                let deleted = client.call("DELETE", &format!("{maps}/{name}"), &[], "").await;
                assert_eq!(deleted.code, 200, "{}", deleted.text());
            }
            413 => refused = middle,
            _ => panic!("{}", answer.text()),
        }
    }
    assert!(fits > 0, "the first one is too large already");
    client.create(maps, &config_map(name, fits)).await;
}

#[test]
fn an_object_that_has_no_room_for_a_label_keeps_none_from_the_others() {
    let world = World::start();
    world.run(async {
        let (master, alpha, beta) = (&world.master, &world.alpha, &world.beta);
        let maps = format!("/clusters/{beta}/api/v1/namespaces/default/configmaps");
        fill(master, &maps, "a-full").await;
        let behind = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "z-behind"}});
        master.create(&maps, &behind).await;
        let claim = json!({"group": "", "resource": "configmaps", "verbs": ["*"]});
        let export = format!("/clusters/{alpha}/apis/apis.kcp.io/v1alpha2/apiexports/widgets");
        let patched = master
            .send("PATCH", &export, &json!({"spec": {"permissionClaims": [claim]}}))
            .await;
        assert_eq!(patched.code, 200, "{}", patched.text());
        let binding = json!({"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIBinding", "metadata": {"name": "widgets"},
            "spec": {"reference": {"export": {"path": alpha, "name": "widgets"}}, "permissionClaims": [
                {"group": "", "resource": "configmaps", "verbs": ["*"], "state": "Accepted", "selector": {"matchAll": true}}]}});
        let bindings = format!("/clusters/{beta}/apis/apis.kcp.io/v1alpha2/apibindings");
        master.create(&bindings, &binding).await;
        let is_labelled = async |name: &str| {
            let map = master.get(&format!("{maps}/{name}")).await.json();
            let labels = map["metadata"]["labels"].as_object();
            labels.is_some_and(|labels| labels.keys().any(|key| key.starts_with(api::keys::label::CLAIM_PREFIX)))
        };
        eventually("what is behind it is labelled", async || is_labelled("z-behind").await.then_some(())).await;
        assert!(!is_labelled("a-full").await, "it has room for the label: nothing was tried here");
    });
}
