use serde_json::json;

use super::*;

fn structural(schema: Value) -> ObjectType {
    ObjectType::structural(Arc::new(schema))
}

fn field<'a>(types: &'a ObjectType, path: &[&str]) -> Atom<'a> {
    let mut here = types.root();
    for name in path {
        here = types.definitions().resolve(here).map.unwrap().type_of(name).unwrap();
    }
    types.definitions().resolve(here)
}

#[test]
fn reads_list_and_map_types() {
    let types = structural(
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
                "items": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 1}}}},
            "plain": {"type": "array", "items": {"type": "string"}},
            "merging": {"type": "array", "items": {"type": "object"}, "x-kubernetes-patch-strategy": "merge,retainKeys",
                "x-kubernetes-patch-merge-key": "name"},
            "atom": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"x": {"type": "string"}}},
            "either": {"x-kubernetes-int-or-string": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        }}}}),
    );
    assert_eq!(field(&types, &["spec", "set"]).list.unwrap().relation, Relation::Set);
    assert_eq!(
        field(&types, &["spec", "keyed"]).list.unwrap().relation,
        Relation::Keyed(vec!["a".into(), "b".into()])
    );
    assert_eq!(
        field(&types, &["spec", "plain"]).list.unwrap().relation,
        Relation::Atomic
    );
    assert_eq!(
        field(&types, &["spec", "merging"]).list.unwrap().relation,
        Relation::Keyed(vec!["name".into()])
    );
    assert!(field(&types, &["spec", "atom"]).map_atomic);
    assert_eq!(field(&types, &["spec", "either"]).scalar, Some(Scalar::Untyped));
    assert_eq!(field(&types, &["spec", "labels", "any"]).scalar, Some(Scalar::String));
    let spec = field(&types, &["spec"]).map.unwrap();
    assert!(spec.type_of("unknown").is_none());
    let patch = &spec.field("merging").unwrap().patch;
    assert_eq!(
        (patch.strategy, patch.retain_keys, patch.merge_key.as_deref()),
        (Strategy::Merge, true, Some("name"))
    );
}

#[test]
fn metadata_is_object_meta_whatever_the_schema_says() {
    for types in [
        structural(json!({"type": "object", "properties": {"metadata": {"type": "object"}}})),
        structural(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})),
        structural(json!({})),
        ObjectType::deduced(),
    ] {
        assert_eq!(
            field(&types, &["metadata", "finalizers"]).list.unwrap().relation,
            Relation::Set
        );
        let owners = field(&types, &["metadata", "ownerReferences"]).list.unwrap();
        assert_eq!(owners.relation, Relation::Keyed(vec!["uid".into()]));
        assert!(types.definitions().resolve(&owners.element).map_atomic);
    }
}

#[test]
fn unknown_fields_are_preserved_downwards_and_embedded_resources_have_metadata() {
    let types = structural(json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "inner": {"type": "object", "properties": {"known": {"type": "string"}}},
            "object": {"type": "object", "x-kubernetes-embedded-resource": true},
    }}}}));
    assert!(field(&types, &["spec", "anything"]).map.unwrap().is_free_form());
    assert!(
        field(&types, &["spec", "inner", "anything"])
            .map
            .unwrap()
            .is_free_form()
    );
    assert_eq!(
        field(&types, &["spec", "object", "metadata", "finalizers"])
            .list
            .unwrap()
            .relation,
        Relation::Set
    );
}

#[test]
fn named_definitions_may_refer_to_themselves_and_be_made_atomic() {
    let definitions = Arc::new(Definitions::new([
        (
            "io.example.Node".to_owned(),
            json!({"type": "object", "properties": {
                "child": {"$ref": "#/definitions/io.example.Node"},
                "leaf": {"allOf": [{"$ref": "#/components/schemas/io.example.Node"}], "x-kubernetes-map-type": "atomic"},
                "quantity": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.api.resource.Quantity"},
                "raw": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.runtime.RawExtension"},
            }}),
        ),
        (
            "io.example.Kind".to_owned(),
            json!({"type": "object", "properties": {
                "metadata": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
                "spec": {"$ref": "#/definitions/io.example.Node"},
            }}),
        ),
    ]));
    let types = ObjectType::named("io.example.Kind", &definitions).unwrap();
    assert!(!field(&types, &["spec", "child", "child"]).map_atomic);
    assert!(field(&types, &["spec", "child", "leaf"]).map_atomic);
    assert!(field(&types, &["spec", "raw"]).map_atomic);
    assert_eq!(field(&types, &["spec", "quantity"]).scalar, Some(Scalar::Untyped));
    assert!(ObjectType::named("io.example.None", &definitions).is_none());
}
