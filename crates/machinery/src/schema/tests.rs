use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// The schemas the product ships, by `plural.group/version`.
fn shipped() -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for text in [
        include_str!("../../../api/data/apiresourceschemas.json"),
        include_str!("../../../api/data/system-crds.json"),
    ] {
        let list: Value = serde_json::from_str(text).expect("shipped data");
        for item in list.as_array().into_iter().flatten() {
            let spec = &item["spec"];
            for version in spec["versions"].as_array().into_iter().flatten() {
                let schema = version["schema"].get("openAPIV3Schema").unwrap_or(&version["schema"]);
                let (plural, group) = (spec["names"]["plural"].as_str(), spec["group"].as_str());
                let name = format!(
                    "{}.{}/{}",
                    plural.unwrap(),
                    group.unwrap(),
                    version["name"].as_str().unwrap()
                );
                out.insert(name, schema.clone());
            }
        }
    }
    out
}

fn compiled(name: &str) -> CompiledSchema {
    CompiledSchema::new(&shipped()[name])
}

#[test]
fn shipped_schemas_pass_the_checks() {
    let path = Path::new("schema");
    let mut pool = Pool::default();
    let mut rules = 0;
    let all = shipped();
    for (name, schema) in &all {
        let errors = check_schema(schema, schema["properties"].get("status").is_some(), &path);
        assert!(errors.is_empty(), "{name}: {errors:?}");
        rules += CompiledSchema::with_pool(schema, &mut pool)
            .cel
            .map_or(0, |cel| cel.len());
    }
    assert!(all.len() >= 19 && rules >= 45, "{} schemas, {rules} rules", all.len());
    // What nothing holds any more goes with the next sweeps.
    while pool.sweep() {}
    assert_eq!(pool.node_count(), 0);
}

#[test]
fn alike_parts_are_shared() {
    let mut pool = Pool::default();
    let (one, two) = (
        shipped()["partitions.topology.kcp.io/v1alpha1"].clone(),
        json!({"type": "object"}),
    );
    let (a, b) = (pool.parse(&one), pool.parse(&one));
    assert!(Arc::ptr_eq(&a, &b));
    assert!(!Arc::ptr_eq(&a, &pool.parse(&two)));
}

#[test]
fn content_key_ignores_the_order_of_members() {
    let a: Value = serde_json::from_str(r#"{"type":"object","properties":{"a":{},"b":{}}}"#).unwrap();
    let b: Value = serde_json::from_str(r#"{"properties":{"b":{},"a":{}},"type":"object"}"#).unwrap();
    assert_eq!(content_key(&a), content_key(&b));
    assert_ne!(
        content_key(&a),
        content_key(&json!({"type": "object", "properties": {"a": {}, "c": {}}}))
    );
    assert_ne!(content_key(&json!(["ab"])), content_key(&json!(["a", "b"])));
}

/// One change that rules judge: the schema, what was before, what is to be, what is said against it.
struct Case(&'static str, Value, Value, &'static [&'static str]);

fn judge(Case(name, old, new, expected): &Case) -> Vec<String> {
    let schema = compiled(name);
    let old = (!old.is_null()).then_some(old);
    let found = schema.cel.expect("rules").evaluate(new, old, &Path::root());
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, *expected, "{name}: {new}");
    found
}

/// Every rule of the schemas of these names must have failed in some case.
#[track_caller]
fn judge_all(names: &[&str], cases: &[Case]) {
    let mut failed = BTreeSet::new();
    for case in cases {
        failed.extend(judge(case).into_iter().map(|text| format!("{}: {text}", case.0)));
    }
    let mut rules = BTreeSet::new();
    for name in names {
        collect(&shipped()[*name], name, "", &mut rules);
    }
    for (name, path, message) in rules {
        let plain = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "").replace("[]", "");
        let hit = failed
            .iter()
            .any(|text| plain(text).starts_with(&plain(&format!("{name}: {path}"))) && text.ends_with(&message));
        assert!(hit, "no case fails {name} {path}: {message}");
    }
}

fn collect(schema: &Value, name: &str, path: &str, out: &mut BTreeSet<(String, String, String)>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = rule["message"].as_str().unwrap_or_default();
        out.insert((name.to_owned(), path.to_owned(), message.to_owned()));
    }
    for (member, property) in schema["properties"].as_object().into_iter().flatten() {
        let below = if path.is_empty() {
            member.clone()
        } else {
            format!("{path}.{member}")
        };
        collect(property, name, &below, out);
    }
    for keyword in ["items", "additionalProperties"] {
        if schema[keyword].is_object() {
            collect(&schema[keyword], name, path, out);
        }
    }
}

fn spec(spec: Value) -> Value {
    json!({ "spec": spec })
}

#[test]
fn tenancy_rules_hold() {
    const NAME: &str = "workspaces.tenancy.kcp.io/v1alpha1";
    let base = || spec(json!({"URL": "https://u", "cluster": "c", "type": {"name": "t", "path": "root"}}));
    let with = |name: &str, value: Value| {
        let mut object = base();
        object["spec"][name] = value;
        object
    };
    let without = |name: &str| {
        let mut object = base();
        object["spec"].as_object_mut().unwrap().remove(name);
        object
    };
    let mount = |mount: Value| spec(json!({ "mount": {"ref": mount} }));
    judge_all(
        &[NAME],
        &[
            Case(NAME, Value::Null, base(), &[]),
            Case(NAME, base(), base(), &[]),
            Case(NAME, without("URL"), base(), &[]),
            Case(
                NAME,
                base(),
                without("URL"),
                &["spec: Invalid value: URL cannot be unset"],
            ),
            Case(
                NAME,
                base(),
                without("cluster"),
                &["spec: Invalid value: cluster cannot be unset"],
            ),
            Case(
                NAME,
                base(),
                with("cluster", json!("d")),
                &[r#"spec.cluster: Invalid value: "d": cluster is immutable"#],
            ),
            Case(
                NAME,
                base(),
                with("type", json!({"name": "x", "path": "root"})),
                &["spec.type: Invalid value: name is immutable"],
            ),
            Case(
                NAME,
                base(),
                with("type", json!({"name": "t"})),
                &["spec.type: Invalid value: path is immutable"],
            ),
            Case(
                NAME,
                base(),
                with("type", json!({"name": "t", "path": "b"})),
                &["spec.type: Invalid value: path is immutable"],
            ),
            Case(NAME, mount(json!({"kind": "a"})), mount(json!({"kind": "a"})), &[]),
            Case(
                NAME,
                mount(json!({"kind": "a"})),
                mount(json!({"name": "b"})),
                &[
                    "spec.mount: Invalid value: mount is immutable",
                    "spec.mount.ref: Invalid value: kind is immutable",
                    "spec.mount.ref: Invalid value: name is immutable",
                ],
            ),
            Case(
                NAME,
                mount(json!({})),
                mount(json!({"apiVersion": "v1"})),
                &[
                    "spec.mount: Invalid value: mount is immutable",
                    "spec.mount.ref: Invalid value: apiVersion is immutable",
                ],
            ),
        ],
    );
}

#[test]
fn authentication_rules_hold() {
    const NAME: &str = "workspaceauthenticationconfigurations.tenancy.kcp.io/v1alpha1";
    let mapping = |name: &str, value: Value| spec(json!({"jwt": [{"claimMappings": {name: value}}]}));
    let rule = |value: Value| spec(json!({"jwt": [{"claimValidationRules": [value]}]}));
    const NEITHER: &str = "either claim or expression must be specified";
    judge_all(
        &[NAME],
        &[
            Case(
                NAME,
                Value::Null,
                mapping("username", json!({"claim": "c", "prefix": "p"})),
                &[],
            ),
            Case(NAME, Value::Null, mapping("groups", json!({"expression": "e"})), &[]),
            Case(NAME, Value::Null, mapping("uid", json!({"claim": "c"})), &[]),
            Case(
                NAME,
                Value::Null,
                mapping("username", json!({})),
                &["spec.jwt[0].claimMappings.username: Invalid value: either claim or expression must be specified"],
            ),
            Case(
                NAME,
                Value::Null,
                mapping("username", json!({"claim": "c", "expression": "e"})),
                &["spec.jwt[0].claimMappings.username: Invalid value: claim and expression cannot both be specified"],
            ),
            Case(
                NAME,
                Value::Null,
                mapping("username", json!({"expression": "e", "prefix": "p"})),
                &[
                    "spec.jwt[0].claimMappings.username: Invalid value: prefix can only be specified when claim is specified",
                ],
            ),
            Case(
                NAME,
                Value::Null,
                mapping("groups", json!({})),
                &["spec.jwt[0].claimMappings.groups: Invalid value: either claim or expression must be specified"],
            ),
            Case(
                NAME,
                Value::Null,
                mapping("groups", json!({"claim": "c", "expression": "e"})),
                &["spec.jwt[0].claimMappings.groups: Invalid value: claim and expression cannot both be specified"],
            ),
            Case(
                NAME,
                Value::Null,
                mapping("groups", json!({"expression": "e", "prefix": "p"})),
                &[
                    "spec.jwt[0].claimMappings.groups: Invalid value: prefix can only be specified when claim is specified",
                ],
            ),
            Case(
                NAME,
                Value::Null,
                mapping("uid", json!({"claim": "c", "expression": "e"})),
                &["spec.jwt[0].claimMappings.uid: Invalid value: claim and expression cannot both be specified"],
            ),
            Case(
                NAME,
                Value::Null,
                rule(json!({"claim": "c", "requiredValue": "v"})),
                &[],
            ),
            Case(NAME, Value::Null, rule(json!({"expression": "e", "message": "m"})), &[]),
            Case(
                NAME,
                Value::Null,
                rule(json!({})),
                &[
                    "spec.jwt[0].claimValidationRules[0]: Invalid value: either claim or expression must be specified",
                    "spec.jwt[0].claimValidationRules[0]: Invalid value: requiredValue can only be specified when claim is specified",
                    "spec.jwt[0].claimValidationRules[0]: Invalid value: message can only be specified when expression is specified",
                ],
            ),
            Case(
                NAME,
                Value::Null,
                rule(json!({"claim": "c", "requiredValue": "v", "expression": "e", "message": "m"})),
                &["spec.jwt[0].claimValidationRules[0]: Invalid value: claim and expression cannot both be specified"],
            ),
        ],
    );
    assert!(NEITHER.starts_with("either"));
}

#[test]
fn topology_rules_hold() {
    const NAME: &str = "partitionsets.topology.kcp.io/v1alpha1";
    const KEY: &str = "Label key prefixes are optional and limited to 253 characters. They should match \
        \"^[a-z0-9]([-a-z0-9]{0,251}[a-z0-9])?$\". Names are limited to 63 characters and should match \
        \"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$\". \"/\" is used as separator.";
    let expression = |value: Value| spec(json!({"shardSelector": {"matchExpressions": [value]}}));
    let labels = |value: Value| spec(json!({"shardSelector": {"matchLabels": value}}));
    let texts = |object: Value| -> Vec<String> {
        let found = compiled(NAME)
            .cel
            .expect("rules")
            .evaluate(&object, None, &Path::root());
        found.iter().map(ToString::to_string).collect()
    };
    for good in [
        json!({"key": "example/a", "operator": "In", "values": ["x"]}),
        json!({"key": "a", "operator": "Exists"}),
    ] {
        assert!(texts(expression(good.clone())).is_empty(), "{good}");
    }
    let at = "spec.shardSelector.matchExpressions[0]";
    for bad in [
        json!({"key": "a", "operator": "In", "values": []}),
        json!({"key": "a", "operator": "DoesNotExist", "values": ["x"]}),
    ] {
        assert!(
            texts(expression(bad))[0].starts_with(&format!("{at}: Invalid value: There should be at least one value"))
        );
    }
    for bad in ["Bad/a", "-a", "a/b/c", "a/"] {
        let found = texts(expression(json!({"key": bad, "operator": "Exists"})));
        assert_eq!(found, [format!("{at}.key: Invalid value: {bad:?}: {KEY}")]);
    }
    assert!(texts(labels(json!({"example/a": "b", "c": "d"}))).is_empty());
    assert_eq!(
        texts(labels(json!({"-a": "b"}))),
        [format!("spec.shardSelector.matchLabels: Invalid value: {KEY}")]
    );
    assert_eq!(texts(labels(json!({"a": "-b"}))).len(), 1);
}

#[test]
fn api_rules_hold() {
    const OLD_CLAIMS: &str = "apiexports.apis.kcp.io/v1alpha1";
    const NEW_EXPORT: &str = "apiexports.apis.kcp.io/v1alpha2";
    const OLD_BINDING: &str = "apibindings.apis.kcp.io/v1alpha1";
    const NEW_BINDING: &str = "apibindings.apis.kcp.io/v1alpha2";
    const SLICE: &str = "apiexportendpointslices.apis.kcp.io/v1alpha1";
    const SCHEMA: &str = "apiresourceschemas.apis.kcp.io/v1alpha1";
    const CACHED: &str = "clustercachedresourceendpointslices.cache.kcp.io/v1alpha1";
    let claims = |value: Value| spec(json!({"permissionClaims": [value]}));
    let status = |list: &str, value: Value| json!({"status": {list: [value]}});
    let reference = |name: &str| spec(json!({"reference": {"export": {"name": name}}}));
    let storage = |value: Value| spec(json!({"resources": [{"name": "a", "storage": value}]}));
    let scoped = |list: &str, hash: &str, all: bool| json!({list: {"x": [{"group": "", "resource": "r", "identityHash": hash, "selector": {"matchAll": all}}]}});
    let spec_claim = |hash: &str, all: bool| spec(scoped("c", hash, all)["c"]["x"].clone().pipe("permissionClaims"));
    let applied =
        |all: bool| json!({"status": scoped("c", "h", all)["c"]["x"].clone().pipe("appliedPermissionClaims")});
    let endpoints = |value: Value| json!({"status": {"endpoints": [{"url": "u", "shards": value}]}});
    let neither = json!({"group": "", "resource": "r"});
    let empty = json!({"resourceSelector": [{}]});
    let conversion = |value: Value| spec(json!({"versions": [{}, {}], "conversion": value}));
    judge_all(
        &[OLD_CLAIMS, NEW_EXPORT, OLD_BINDING, NEW_BINDING, SLICE, SCHEMA, CACHED],
        &[
            Case(OLD_CLAIMS, Value::Null, claims(json!({"all": true})), &[]),
            Case(
                OLD_CLAIMS,
                Value::Null,
                claims(json!({"resourceSelector": [{"namespace": "n"}]})),
                &[],
            ),
            Case(
                OLD_CLAIMS,
                Value::Null,
                claims(neither.clone()),
                &[r#"spec.permissionClaims[0]: Invalid value: either "all" or "resourceSelector" must be set"#],
            ),
            Case(
                OLD_CLAIMS,
                Value::Null,
                claims(empty.clone()),
                &["spec.permissionClaims[0].resourceSelector[0]: Invalid value: at least one field must be set"],
            ),
            Case(NEW_EXPORT, Value::Null, storage(json!({"crd": {}})), &[]),
            Case(
                NEW_EXPORT,
                Value::Null,
                storage(json!({"crd": {}, "virtual": {}})),
                &["spec.resources[0].storage: Invalid value: Exactly one of crd or virtual must be set"],
            ),
            Case(OLD_BINDING, reference("a"), reference("a"), &[]),
            Case(
                OLD_BINDING,
                reference("a"),
                reference("b"),
                &["spec.reference: Invalid value: APIExport reference must not be changed"],
            ),
            Case(
                OLD_BINDING,
                Value::Null,
                claims(neither.clone()),
                &[r#"spec.permissionClaims[0]: Invalid value: either "all" or "resourceSelector" must be set"#],
            ),
            Case(
                OLD_BINDING,
                Value::Null,
                claims(empty.clone()),
                &["spec.permissionClaims[0].resourceSelector[0]: Invalid value: at least one field must be set"],
            ),
            Case(
                OLD_BINDING,
                Value::Null,
                status("appliedPermissionClaims", neither.clone()),
                &[
                    r#"status.appliedPermissionClaims[0]: Invalid value: either "all" or "resourceSelector" must be set"#,
                ],
            ),
            Case(
                OLD_BINDING,
                Value::Null,
                status("appliedPermissionClaims", empty.clone()),
                &[
                    "status.appliedPermissionClaims[0].resourceSelector[0]: Invalid value: at least one field must be set",
                ],
            ),
            Case(
                OLD_BINDING,
                Value::Null,
                status("exportPermissionClaims", neither),
                &[r#"status.exportPermissionClaims[0]: Invalid value: either "all" or "resourceSelector" must be set"#],
            ),
            Case(
                OLD_BINDING,
                Value::Null,
                status("exportPermissionClaims", empty),
                &[
                    "status.exportPermissionClaims[0].resourceSelector[0]: Invalid value: at least one field must be set",
                ],
            ),
            Case(
                NEW_BINDING,
                reference("a"),
                reference("b"),
                &["spec.reference: Invalid value: APIExport reference must not be changed"],
            ),
            Case(NEW_BINDING, spec_claim("h", true), spec_claim("h", true), &[]),
            Case(
                NEW_BINDING,
                spec_claim("h", true),
                spec_claim("h", false),
                &["spec.permissionClaims[0].selector: Invalid value: Permission claim selector is immutable"],
            ),
            // Another key: nothing to compare with.
            Case(NEW_BINDING, spec_claim("h", true), spec_claim("i", false), &[]),
            Case(
                NEW_BINDING,
                applied(true),
                applied(false),
                &["status.appliedPermissionClaims[0].selector: Invalid value: Permission claim selector is immutable"],
            ),
            Case(
                SLICE,
                spec(json!({"export": {"name": "a"}})),
                spec(json!({"export": {"name": "b"}})),
                &["spec.export: Invalid value: APIExport reference must not be changed"],
            ),
            Case(SLICE, Value::Null, endpoints(json!({"matchAll": true})), &[]),
            Case(
                SLICE,
                Value::Null,
                endpoints(json!({"matchAll": true, "selector": {}})),
                &["status.endpoints[0].shards: Invalid value: matchAll and selector are mutually exclusive"],
            ),
            Case(SCHEMA, Value::Null, spec(json!({"versions": [{}]})), &[]),
            Case(
                SCHEMA,
                Value::Null,
                spec(json!({"versions": [{}, {}]})),
                &["spec: Invalid value: Conversion must be specified when multiple versions exist"],
            ),
            Case(SCHEMA, Value::Null, conversion(json!({"strategy": "None"})), &[]),
            Case(
                SCHEMA,
                Value::Null,
                conversion(json!({"strategy": "Webhook"})),
                &["spec.conversion: Invalid value: Webhook must be specified if strategy=Webhook"],
            ),
            Case(
                CACHED,
                spec(json!({"clusterCachedResource": {"name": "a"}, "export": {"name": "a"}})),
                spec(json!({"clusterCachedResource": {"name": "b"}, "export": {"name": "b"}})),
                &[
                    "spec.clusterCachedResource: Invalid value: ClusterCachedResource reference must not be changed",
                    "spec.export: Invalid value: APIExport reference must not be changed",
                ],
            ),
            Case(
                CACHED,
                Value::Null,
                endpoints(json!({"matchAll": true, "selector": {}})),
                &["status.endpoints[0].shards: Invalid value: matchAll and selector are mutually exclusive"],
            ),
        ],
    );
}

trait Pipe {
    /// The value as the only member of an object.
    fn pipe(self, name: &str) -> Value;
}

impl Pipe for Value {
    fn pipe(self, name: &str) -> Value {
        json!({ name: self })
    }
}

#[test]
fn rules_wait_for_a_sound_shape() {
    let schema = compiled("apibindings.apis.kcp.io/v1alpha2");
    let object = json!({"spec": {"reference": {"export": {"name": "a"}}, "permissionClaims": [
        {"group": "", "resource": "roles", "verbs": ["*"], "identityHash": "", "selector": {"matchAll": true}, "state": "Maybe"}]}});
    let texts: Vec<String> = schema
        .validate(&object, None, &Path::root())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        texts,
        [
            r#"spec.permissionClaims[0].state: Unsupported value: "Maybe": supported values: "Accepted", "Rejected""#,
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ]
    );
}

// === properties ===

/// A schema and a value that it accepts.
#[derive(Clone, Debug)]
struct Pair {
    schema: Value,
    value: Value,
}

fn leaf() -> impl Strategy<Value = Pair> {
    let text = "[a-z]{0,5}".prop_map(|text| Pair {
        schema: json!({"type": "string", "maxLength": 5}),
        value: json!(text),
    });
    let integer = (-9..9_i64).prop_map(|value| Pair {
        schema: json!({"type": "integer", "minimum": -9}),
        value: json!(value),
    });
    let either = any::<bool>().prop_map(|text| Pair {
        schema: json!({"x-kubernetes-int-or-string": true}),
        value: if text { json!("5%") } else { json!(5) },
    });
    let nullable = Just(Pair {
        schema: json!({"type": "string", "nullable": true}),
        value: Value::Null,
    });
    prop_oneof![text, integer, either, nullable]
}

fn pair() -> impl Strategy<Value = Pair> {
    leaf().prop_recursive(4, 32, 4, |inner| {
        let list = (inner.clone(), 0..3_usize).prop_map(|(item, count)| Pair {
            schema: json!({"type": "array", "items": item.schema}),
            value: Value::Array(vec![item.value; count]),
        });
        let map = (inner.clone(), prop::collection::btree_set("[a-c]", 0..3)).prop_map(|(item, keys)| Pair {
            schema: json!({"type": "object", "additionalProperties": item.schema}),
            value: Value::Object(keys.into_iter().map(|key| (key, item.value.clone())).collect()),
        });
        let member = (inner, any::<[bool; 3]>());
        let object = (prop::collection::btree_map("[a-e]", member, 0..4), any::<bool>()).prop_map(|(members, odd)| {
            let mut properties = Map::new();
            let mut value = Map::new();
            let mut required = Vec::new();
            for (name, (pair, [present, defaulted, needed])) in members {
                let mut schema = pair.schema;
                if defaulted && !pair.value.is_null() {
                    // A default with unknown fields would be refused.
                    let mut default = pair.value.clone();
                    prune::prune(&mut default, &Schema::parse(&schema), false);
                    schema["default"] = default;
                }
                if present {
                    value.insert(name.clone(), pair.value);
                }
                if needed && (present || defaulted && schema.get("default").is_some()) {
                    required.push(name.clone());
                }
                properties.insert(name, schema);
            }
            if odd {
                value.insert("unknown".to_owned(), json!({"x": [1, null]}));
            }
            Pair {
                schema: json!({"type": "object", "properties": properties, "required": required}),
                value: value.into(),
            }
        });
        prop_oneof![list, map, object]
    })
}

proptest! {
    #[test]
    fn what_is_pruned_and_defaulted_is_valid_and_stays(pair in pair()) {
        let schema = json!({"type": "object", "properties": {"spec": pair.schema}});
        let compiled = CompiledSchema::new(&schema);
        let mut object = json!({"apiVersion": "v1", "spec": pair.value});
        compiled.prune(&mut object);
        let pruned = object.clone();
        prop_assert!(compiled.prune(&mut object).is_empty());
        prop_assert_eq!(&object, &pruned);
        compiled.default(&mut object);
        let defaulted = object.clone();
        compiled.default(&mut object);
        prop_assert_eq!(&object, &defaulted);
        prop_assert!(compiled.prune(&mut object).is_empty());
        let errors = compiled.validate(&object, None, &Path::root());
        prop_assert!(errors.is_empty(), "{:?}", errors);
        prop_assert!(compiled.validate(&object, Some(&object), &Path::root()).is_empty());
    }

    #[test]
    fn any_value_gets_an_answer(pair in pair(), other in pair()) {
        let compiled = CompiledSchema::new(&json!({"type": "object", "properties": {"spec": pair.schema}}));
        let mut object = json!({"spec": other.value});
        compiled.prune(&mut object);
        compiled.default(&mut object);
        compiled.validate(&object, Some(&json!({"spec": pair.value})), &Path::root());
    }

    #[test]
    fn any_text_compiles_or_is_refused(source in "[a-c(){}\\[\\].,:?!&|=<>+*'\" 0-9-]{0,40}") {
        let schema = Schema::parse(&json!({"type": "object", "properties": {"a": {"type": "string"}}}));
        let scope = crate::cel::Scope { schema: &schema, root: true, optional_old: false };
        if let Err(error) = crate::cel::Program::compile(&source, scope, crate::cel::Wanted::Bool) {
            error.detail(&source);
        }
    }

    #[test]
    fn any_pattern_compiles_or_is_refused(source in "[a-c(){}\\[\\].,:?!&|=<>+*^$\\\\dwsQEb0-9-]{0,20}") {
        let _either = pattern::compile(&source).map(|regex| regex.is_match("abc"));
    }
}
