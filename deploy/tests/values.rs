//! Which values the chart takes: each is set by an example and so rendered and checked; what does not fit is refused by its
//! schema. Where there is a Helm (`$HELM`), it says the same.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use deploy::values::{Schema, chart, merge};
use serde_json::{Value, json};

/// Values that nothing is rendered from.
const HELMS_OWN: [&str; 1] = ["/global"];

/// What does not fit, and where that is said.
const REFUSED: [(&str, &str); 33] = [
    ("externalHostname: ''", "/externalHostname"),
    ("externalHostname: 'https://kcp.example.com'", "/externalHostname"),
    ("externalHostname: 'kcp.example.com:6443'", "/externalHostname"),
    ("externalPort: 70000", "/externalPort"),
    ("externalPort: '443'", "/externalPort"),
    ("clusterDomain: Cluster Local", "/clusterDomain"),
    ("image: {digest: 'sha256:12'}", "/image/digest"),
    ("image: {pullPolicy: Sometimes}", "/image/pullPolicy"),
    ("shards: []", "/shards"),
    ("shards: [{}]", "/shards/0"),
    ("shards: [{name: root}, {name: Not_A_Name}]", "/shards/1/name"),
    ("shards: [{name: root, replica: 2}]", "/shards/0"),
    ("shardDefaults: {batteries: [unknown]}", "/shardDefaults/batteries/0"),
    ("shardDefaults: {store: {type: redis}}", "/shardDefaults/store/type"),
    (
        "shardDefaults: {store: {type: external}}",
        "/shardDefaults/store/external/endpoints",
    ),
    (
        "shardDefaults: {store: {external: {endpoints: ['etcd:2379']}}}",
        "/shardDefaults/store/external/endpoints/0",
    ),
    (
        "shardDefaults: {store: {external: {prefix: kcp}}}",
        "/shardDefaults/store/external/prefix",
    ),
    (
        "shardDefaults: {store: {etcd: {replicas: 2}}}",
        "/shardDefaults/store/etcd/replicas",
    ),
    (
        "shardDefaults: {store: {etcd: {size: much}}}",
        "/shardDefaults/store/etcd/size",
    ),
    ("shardDefaults: {extraArgs: [v=4]}", "/shardDefaults/extraArgs/0"),
    (
        "shardDefaults: {podDisruptionBudget: {maxUnavailable: half}}",
        "/shardDefaults/podDisruptionBudget/maxUnavailable",
    ),
    ("frontProxy: {replicas: 0}", "/frontProxy/replicas"),
    ("frontProxy: {service: {type: Ingress}}", "/frontProxy/service/type"),
    ("frontProxy: {service: {nodePort: 0}}", "/frontProxy/service/nodePort"),
    (
        "frontProxy: {extraMappings: [{path: /x}]}",
        "/frontProxy/extraMappings/0",
    ),
    ("certificates: {mode: none}", "/certificates/mode"),
    (
        "certificates: {renewalSchedule: weekly}",
        "/certificates/renewalSchedule",
    ),
    (
        "oidc: {issuerURL: 'http://issuer.example.com', clientID: kcp}",
        "/oidc/issuerURL",
    ),
    ("oidc: {issuerURL: 'https://issuer.example.com'}", "/oidc/clientID"),
    ("oidc: {groupsClaim: groups}", "/oidc/groupsClaim"),
    (
        "oidc: {issuerURL: 'https://issuer.example.com', clientID: kcp, configSecretName: issuers}",
        "/oidc/configSecretName",
    ),
    (
        "oidc: {issuerURL: 'https://issuer.example.com', clientID: kcp, signingAlgs: [HS256]}",
        "/oidc/signingAlgs/0",
    ),
    (
        "oidc: {issuerURL: 'https://issuer.example.com', clientID: kcp, requiredClaims: {a: 'b,c=d'}}",
        "/oidc/requiredClaims/a",
    ),
];

fn read(path: &Path) -> Value {
    machinery::yaml::decode_value(&std::fs::read(path).unwrap()).unwrap()
}

/// The chart's values with somebody's.
fn with(values: &Value) -> Value {
    static DEFAULTS: LazyLock<Value> = LazyLock::new(|| read(&chart().join("values.yaml")));
    let mut all = DEFAULTS.clone();
    merge(&mut all, values);
    all
}

fn examples() -> Vec<(String, Value)> {
    let entries = std::fs::read_dir(chart().join("../../values")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| (path.display().to_string(), read(&path))).collect()
}

/// Where a value may be set: the schema's fields, down to what it leaves open. Alternatives and lists are one value.
fn settings(schema: &Schema, of: &Value, at: &str, found: &mut BTreeSet<String>) {
    let resolved = schema.resolve(of);
    match resolved.get("properties").and_then(Value::as_object) {
        Some(fields) => {
            for (name, field) in fields {
                settings(schema, field, &format!("{at}/{name}"), found);
            }
        }
        None => drop(found.insert(at.to_owned())),
    }
}

fn all_settings(schema: &Schema) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    settings(schema, schema.root(), "", &mut found);
    assert!(found.len() > 150, "{}", found.len());
    found
}

/// The values with one of them replaced.
fn with_one(pointer: &str, value: &Value) -> Value {
    let mut set = value.clone();
    for name in pointer.rsplit('/').filter(|name| !name.is_empty()) {
        set = json!({name: set});
    }
    let mut values = json!({"externalHostname": "kcp.example.com"});
    merge(&mut values, &set);
    values
}

#[test]
fn examples_fit_the_schema() {
    let schema = Schema::of_chart().unwrap();
    for (name, values) in examples() {
        assert_eq!(schema.errors(&with(&values)), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn every_value_is_known_to_the_schema_and_has_a_default() {
    let schema = Schema::of_chart().unwrap();
    let defaults = read(&chart().join("values.yaml"));
    for setting in all_settings(&schema) {
        let helms_own = HELMS_OWN.contains(&&*setting);
        // Names are an issuer's own.
        let open = setting.starts_with("/frontProxy/certificateIssuer/");
        let claims = setting.ends_with("/resources/claims") || setting.ends_with("/resources/limits");
        assert!(
            helms_own || open || claims || defaults.pointer(&setting).is_some(),
            "{setting} has no default"
        );
    }
}

/// What no example sets would be rendered by no test.
#[test]
fn every_value_is_changed_by_some_example() {
    let schema = Schema::of_chart().unwrap();
    let defaults = with(&json!({}));
    let mut changed: Vec<Value> = Vec::new();
    for (_, values) in examples() {
        // What one shard sets is a setting of all.
        for shard in values["shards"].as_array().into_iter().flatten() {
            changed.push(json!({ "shardDefaults": shard }));
        }
        changed.push(values);
    }
    for setting in all_settings(&schema) {
        if HELMS_OWN.contains(&&*setting) || setting.ends_with("/resources/claims") {
            continue;
        }
        let default = defaults.pointer(&setting).unwrap_or(&Value::Null);
        let is_changed = |values: &Value| values.pointer(&setting).is_some_and(|value| value != default);
        assert!(
            changed.iter().any(is_changed),
            "{setting} is as it is by default everywhere"
        );
    }
}

#[test]
fn a_value_of_another_type_is_refused_wherever_it_stands() {
    let schema = Schema::of_chart().unwrap();
    for setting in all_settings(&schema) {
        let default = with(&json!({})).pointer(&setting).cloned();
        let wrong = match default {
            Some(Value::Object(_)) | None => json!([["wrong"]]),
            _ => json!({"wrong": {"wrong": 1}}),
        };
        let errors = schema.errors(&with(&with_one(&setting, &wrong)));
        let is_said = errors.iter().any(|error| error.starts_with(&setting));
        assert!(is_said, "{setting} may be {wrong}: {errors:?}");
    }
}

#[test]
fn a_misspelt_value_is_refused_wherever_it_stands() {
    let schema = Schema::of_chart().unwrap();
    let parents: BTreeSet<String> = all_settings(&schema)
        .iter()
        .filter_map(|setting| setting.rsplit_once('/'))
        .map(|(parent, _)| parent.to_owned())
        .collect();
    for parent in parents {
        let errors = schema.errors(&with(&with_one(&format!("{parent}/misspelt"), &json!("x"))));
        let wanted = format!("{parent}: additionalProperties: misspelt");
        assert!(errors.contains(&wanted), "{parent}: {errors:?}");
    }
}

#[test]
fn values_that_do_not_fit_are_refused_and_it_is_said_where() {
    let schema = Schema::of_chart().unwrap();
    for (yaml, at) in REFUSED {
        let values = machinery::yaml::decode_value(yaml.as_bytes()).unwrap();
        let mut given = json!({"externalHostname": "kcp.example.com"});
        assert_eq!(schema.errors(&with(&given)), Vec::<String>::new());
        merge(&mut given, &values);
        let errors = schema.errors(&with(&given));
        let is_said = errors.iter().any(|error| error.starts_with(&format!("{at}:")));
        assert!(is_said, "{yaml}: {errors:?}");
        refused_by_helm(&given, at);
    }
    // None is given by default.
    assert!(!schema.errors(&with(&json!({}))).is_empty());
}

fn refused_by_helm(values: &Value, at: &str) {
    let Some(helm) = std::env::var_os("HELM") else { return };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(values.to_string().as_bytes()).unwrap();
    let output = Command::new(helm)
        .args(["template", "kcp"])
        .arg(chart())
        .args(["--kube-version", "1.33.0", "--values"])
        .arg(file.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(at), "{values}: {said}");
}

#[test]
fn a_word_that_is_not_understood_holds_for_nothing() {
    let mut schema = Schema::of_chart().unwrap().root().clone();
    schema["unevaluatedProperties"] = json!(false);
    let schema = Schema::from(schema);
    let errors = schema.errors(&with(&json!({"externalHostname": "kcp.example.com"})));
    assert!(
        errors.iter().any(|error| error.contains("unevaluatedProperties")),
        "{errors:?}"
    );
}
