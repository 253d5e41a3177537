//! Rules of the compiled-in kinds, over a real store.

use machinery::object::ObjectExt;
use serde_json::{Value, json};

use crate::Subresource;
use crate::testing::{Fixture, config_map, refusal, widget_crd};

async fn invalid(f: &Fixture, resource: &str, body: Value) -> String {
    let at = f.at(resource, "default", "");
    let (code, text) = refusal(f.create(&at, body).await);
    assert_eq!(code, 422, "{text}");
    text.split_once(" is invalid: ")
        .map(|(_, why)| why.to_owned())
        .unwrap_or(text)
}

#[tokio::test(start_paused = true)]
async fn configmap_keys_size_and_immutability() {
    let f = Fixture::new().await;
    let why = invalid(
        &f,
        "configmaps",
        json!({"metadata": {"name": "a"}, "data": {"a/b": "", "..x": ""}}),
    )
    .await;
    assert!(why.starts_with("[data[..x]: Invalid value: \"..x\": must not start with '..', data[a/b]: Invalid value: \"a/b\": a valid config key must consist of"), "{why}");
    let both = json!({"metadata": {"name": "a"}, "data": {"k": ""}, "binaryData": {"k": ""}});
    assert_eq!(
        invalid(&f, "configmaps", both).await,
        "data[k]: Invalid value: \"k\": duplicate of key present in binaryData"
    );
    let large = json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(1024 * 1024 + 1)}});
    assert_eq!(
        invalid(&f, "configmaps", large).await,
        "<nil>: Too long: may not be more than 1048576 bytes"
    );

    let at = f.at("configmaps", "default", "a");
    let mut body = config_map("a");
    body["immutable"] = json!(true);
    f.create(&at, body.clone()).await.unwrap();
    body["data"]["k"] = json!("other");
    let forbidden = "Forbidden: field is immutable when `immutable` is set";
    let (_, text) = refusal(f.update(&at, body.clone()).await);
    assert_eq!(text, format!("ConfigMap \"a\" is invalid: data: {forbidden}"));
    body["immutable"] = json!(false);
    let (_, text) = refusal(f.update(&at, body).await);
    assert_eq!(
        text,
        format!("ConfigMap \"a\" is invalid: [immutable: {forbidden}, data: {forbidden}]")
    );
}

#[tokio::test(start_paused = true)]
async fn wrong_types_are_refused_in_gos_words() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    let (code, text) = refusal(
        f.create(&at, json!({"metadata": {"name": "a"}, "data": {"k": 1}}))
            .await,
    );
    assert_eq!(code, 400);
    assert_eq!(
        text,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field \
         ConfigMap.data of type string"
    );
    let (_, text) = refusal(
        f.create(&at, json!({"metadata": {"name": "a"}, "binaryData": {"k": "%"}}))
            .await,
    );
    assert!(text.ends_with("illegal base64 data at input byte 0"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn secrets_take_texts_and_check_their_type() {
    let f = Fixture::new().await;
    let at = f.at("secrets", "default", "s");
    let made = f
        .create(&at, json!({"metadata": {"name": "s"}, "stringData": {"k": "v"}}))
        .await
        .unwrap();
    assert_eq!(
        (&made["type"], &made["data"]),
        (&json!("Opaque"), &json!({"k": "dg=="}))
    );
    assert!(made.get("stringData").is_none());
    assert!(made["metadata"]["managedFields"].to_string().contains("f:data"));
    let mut other = made.clone();
    other["type"] = json!("example.io/x");
    let (_, text) = refusal(f.update(&at, other).await);
    assert_eq!(
        text,
        "Secret \"s\" is invalid: type: Invalid value: \"example.io/x\": field is immutable"
    );
    let of = |kind: &str, data: Value| json!({"metadata": {"name": "x"}, "type": kind, "data": data});
    assert_eq!(
        invalid(&f, "secrets", of("kubernetes.io/tls", json!({}))).await,
        "[data[tls.crt]: Required value, data[tls.key]: Required value]"
    );
    assert_eq!(
        invalid(&f, "secrets", of("kubernetes.io/basic-auth", json!({}))).await,
        "[data[username]: Required value, data[password]: Required value]"
    );
    assert_eq!(
        invalid(&f, "secrets", of("kubernetes.io/ssh-auth", json!({}))).await,
        "data[ssh-privatekey]: Required value"
    );
    assert_eq!(
        invalid(&f, "secrets", of("kubernetes.io/service-account-token", json!({}))).await,
        "metadata.annotations[kubernetes.io/service-account.name]: Required value"
    );
    let why = invalid(
        &f,
        "secrets",
        of("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "eA=="})),
    )
    .await;
    assert!(
        why.starts_with("data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": "),
        "{why}"
    );
}

#[tokio::test(start_paused = true)]
async fn namespace_names_are_labels() {
    let f = Fixture::new().await;
    let (code, text) = refusal(
        f.create(&f.at("namespaces", "", ""), json!({"metadata": {"name": "a.b"}}))
            .await,
    );
    assert_eq!(code, 422);
    assert!(text.contains("must not contain dots"), "{text}");
    let named = f
        .create(&f.at("namespaces", "", ""), json!({"metadata": {"generateName": "g-"}}))
        .await
        .unwrap();
    assert_eq!(named.label("kubernetes.io/metadata.name"), Some(named.name()));
}

#[tokio::test(start_paused = true)]
async fn roles_have_whole_rules() {
    let f = Fixture::new().await;
    let role = |rule: Value| json!({"metadata": {"name": "system:r"}, "rules": [rule]});
    assert_eq!(
        invalid(&f, "roles.rbac.authorization.k8s.io", role(json!({}))).await,
        "[rules[0].verbs: Required value: verbs must contain at least one value, rules[0].apiGroups: Required value: resource \
         rules must supply at least one api group, rules[0].resources: Required value: resource rules must supply at least \
         one resource]"
    );
    let urls = json!({"verbs": ["get"], "nonResourceURLs": ["/x"]});
    assert_eq!(
        invalid(&f, "roles.rbac.authorization.k8s.io", role(urls.clone())).await,
        "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs"
    );
    f.create(&f.at("clusterroles.rbac.authorization.k8s.io", "", ""), role(urls))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_role_of_a_binding_is_fixed() {
    let f = Fixture::new().await;
    let at = f.at("clusterrolebindings.rbac.authorization.k8s.io", "", "b");
    let body = json!({
        "metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "admin"},
        "subjects": [{"kind": "User", "name": "alice"}],
    });
    let mut made = f.create(&at, body).await.unwrap();
    assert_eq!(made["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
    assert_eq!(made["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
    made["roleRef"]["name"] = json!("edit");
    let (code, text) = refusal(f.update(&at, made).await);
    assert_eq!(code, 422);
    assert_eq!(
        text,
        "ClusterRoleBinding.rbac.authorization.k8s.io \"b\" is invalid: roleRef: Invalid value: \
         {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"ClusterRole\",\"Name\":\"edit\"}: cannot change roleRef"
    );
    let bad = json!({
        "metadata": {"name": "c"}, "roleRef": {"kind": "Role", "name": "admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "sa"}, {"kind": "Robot", "name": "r"}],
    });
    assert_eq!(
        invalid(&f, "clusterrolebindings.rbac.authorization.k8s.io", bad).await,
        "[roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\", subjects[0].namespace: Required \
         value, subjects[1].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"]"
    );
}

#[tokio::test(start_paused = true)]
async fn lease_numbers_are_checked() {
    let f = Fixture::new().await;
    let body = json!({"metadata": {"name": "l"}, "spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}});
    assert_eq!(
        invalid(&f, "leases.coordination.k8s.io", body).await,
        "[spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0, spec.leaseTransitions: Invalid value: -1: must \
         be greater than or equal to 0]"
    );
}

#[tokio::test(start_paused = true)]
async fn definitions_are_defaulted_and_judged() {
    let f = Fixture::new().await;
    let at = f.at(
        "customresourcedefinitions.apiextensions.k8s.io",
        "",
        "widgets.example.io",
    );
    let mut body = widget_crd();
    body["spec"]["names"] = json!({"plural": "widgets", "kind": "Widget"});
    let made = f.create(&at, body.clone()).await.unwrap();
    assert_eq!(made["spec"]["names"]["singular"], "widget");
    assert_eq!(made["spec"]["names"]["listKind"], "WidgetList");
    assert_eq!(made["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(
        (&made["status"]["storedVersions"], made.generation()),
        (&json!(["v1"]), 1)
    );

    let mut renamed = made.clone();
    renamed["spec"]["group"] = json!("other.io");
    let (_, text) = refusal(f.update(&at, renamed).await);
    assert!(
        text.contains("spec.group: Invalid value: \"other.io\": field is immutable"),
        "{text}"
    );

    let mut bad = body.clone();
    bad["metadata"]["name"] = json!("x");
    let why = invalid(&f, "customresourcedefinitions.apiextensions.k8s.io", bad).await;
    assert_eq!(
        why,
        "metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group"
    );
    let mut bad = body.clone();
    bad["metadata"]["name"] = json!("gadgets.example.io");
    bad["spec"]["names"]["plural"] = json!("gadgets");
    bad["spec"]["versions"][1]["storage"] = json!(true);
    let why = invalid(&f, "customresourcedefinitions.apiextensions.k8s.io", bad).await;
    assert!(
        why.ends_with("must have exactly one version marked as storage version"),
        "{why}"
    );
    let mut bad = body;
    bad["metadata"]["name"] = json!("gadgets.example.io");
    bad["spec"]["names"]["plural"] = json!("gadgets");
    bad["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["colour"] = json!({});
    let why = invalid(&f, "customresourcedefinitions.apiextensions.k8s.io", bad).await;
    assert!(
        why.contains("spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[colour].type: Required value: must not be empty for specified object fields"),
        "{why}"
    );
}

#[tokio::test(start_paused = true)]
async fn groups_of_the_community_need_approval() {
    let f = Fixture::new().await;
    let mut body = widget_crd();
    body["metadata"]["name"] = json!("widgets.my.k8s.io");
    body["spec"]["group"] = json!("my.k8s.io");
    let why = invalid(&f, "customresourcedefinitions.apiextensions.k8s.io", body).await;
    assert_eq!(
        why,
        "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \
         \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111"
    );
}

#[tokio::test(start_paused = true)]
async fn quotas_limit_standard_resources() {
    let f = Fixture::new().await;
    let body =
        json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "3", "count/widgets.example.io": "2"}}});
    let made = f.create(&f.at("resourcequotas", "default", ""), body).await.unwrap();
    assert_eq!(made["status"], json!({}));
    let body =
        json!({"metadata": {"name": "r"}, "spec": {"hard": {"nonsense": "1", "count/x": "1500m", "pods": "-1"}}});
    assert_eq!(
        invalid(&f, "resourcequotas", body).await,
        "[spec.hard[count/x]: Invalid value: \"1500m\": must be an integer, spec.hard[nonsense]: Invalid value: \"nonsense\": \
         must be a standard resource for quota, spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0]"
    );
}

#[tokio::test(start_paused = true)]
async fn requests_are_approved_and_issued_apart() {
    let f = Fixture::new().await;
    let at = f.at("certificatesigningrequests.certificates.k8s.io", "", "c");
    let pem = "-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n";
    let body = json!({"metadata": {"name": "c"}, "spec": {
        "request": crate::shape::base64_text(pem.as_bytes()), "usages": ["client auth"], "username": "mallory",
        "signerName": "kubernetes.io/kube-apiserver-client",
    }});
    let made = f.create(&at, body).await.unwrap();
    assert_eq!(made["spec"]["username"], "alice");
    let approve = json!([{"type": "Approved", "status": "True", "reason": "Ok"}]);
    let mut body = made.clone();
    body["status"] = json!({"conditions": approve.clone(), "certificate": "eA=="});
    let kept = f.update(&at, body.clone()).await.unwrap();
    assert!(
        kept["status"].get("conditions").is_none(),
        "the main endpoint keeps status"
    );
    let status = f.update(&at.sub(Subresource::Status), body.clone()).await.unwrap();
    assert_eq!(status["status"]["certificate"], "eA==");
    assert!(status["status"].get("conditions").is_none(), "status does not approve");
    body["metadata"]["resourceVersion"] = status["metadata"]["resourceVersion"].clone();
    let approved = f.update(&at.sub(Subresource::Approval), body).await.unwrap();
    assert_eq!(approved["status"]["conditions"][0]["type"], "Approved");
    assert_eq!(approved["status"]["certificate"], "eA==");
}

#[tokio::test(start_paused = true)]
async fn webhooks_are_defaulted_and_judged() {
    let f = Fixture::new().await;
    let hook = json!({
        "name": "a.example.io", "clientConfig": {"url": "https://x/"}, "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
    });
    let resource = "validatingwebhookconfigurations.admissionregistration.k8s.io";
    let at = f.at(resource, "", "");
    let made = f
        .create(&at, json!({"metadata": {"name": "w"}, "webhooks": [hook]}))
        .await
        .unwrap();
    let made = &made["webhooks"][0];
    assert_eq!(
        (
            &made["failurePolicy"],
            &made["timeoutSeconds"],
            &made["rules"][0]["scope"]
        ),
        (&json!("Fail"), &json!(10), &json!("*"))
    );
    let mut bad = hook;
    bad["name"] = json!("short");
    bad["timeoutSeconds"] = json!(31);
    let why = invalid(&f, resource, json!({"metadata": {"name": "x"}, "webhooks": [bad]})).await;
    assert_eq!(
        why,
        "[webhooks[0].name: Invalid value: \"short\": should be a domain with at least three segments separated by dots, \
         webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds]"
    );
}

#[tokio::test(start_paused = true)]
async fn every_compiled_in_resource_has_a_shape() {
    for def in crate::testing::builtins() {
        assert!(def.versions[0].schema.shape.is_some(), "{}", def.names.plural);
    }
}
