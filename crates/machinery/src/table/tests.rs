use serde_json::json;

use super::*;
use crate::time::parse_rfc3339;

fn now() -> i128 {
    parse_rfc3339("2026-11-22T17:01:15Z").unwrap()
}

fn cells(printer: &TablePrinter, object: &Value) -> Value {
    printer.row(object, IncludeObject::None, MetaVersion::V1, now())["cells"].clone()
}

fn builtin(group: &str, resource: &str, mut object: Value) -> Value {
    object.set_at(&["metadata", "name"], json!("x"));
    object.set_at(&["metadata", "creationTimestamp"], json!("2026-11-22T16:58:46Z"));
    let printer = TablePrinter::builtin(group, resource);
    let cells = cells(&printer, &object);
    assert_eq!(cells.as_array().unwrap().len(), printer.columns().len(), "{resource}");
    cells
}

#[test]
fn custom_columns_show_the_values_of_their_type() {
    let printer = TablePrinter::custom(Some(&json!([
        {"name": "Export", "type": "string", "jsonPath": ".spec.export.name"},
        {"name": "Partition", "type": "string", "jsonPath": ".spec.partition", "priority": 1, "description": "d"},
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Wrong", "type": "boolean", "jsonPath": ".spec.size"},
        {"name": "Object", "type": "string", "jsonPath": ".spec.export"},
        {"name": "Bad", "type": "string", "jsonPath": ".spec["},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ])));
    let object = json!({
        "metadata": {"name": "example.io", "creationTimestamp": "2026-11-22T16:58:46Z"},
        "spec": {"export": {"name": "e"}, "size": 1},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    assert_eq!(
        cells(&printer, &object),
        json!([
            "example.io",
            "e",
            null,
            "True",
            1,
            null,
            "{\"name\":\"e\"}",
            null,
            "2m29s"
        ])
    );
    let head = json!(printer.columns());
    assert_eq!(head[0]["format"], "name");
    assert_eq!(
        head[2],
        json!({"name": "Partition", "type": "string", "format": "", "description": "d", "priority": 1})
    );
}

#[test]
fn custom_resources_without_columns_show_their_age() {
    let printer = TablePrinter::custom(None);
    let names: Vec<&str> = printer.columns().iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["Name", "Age"]);
    assert_eq!(printer.columns()[1].kind, "date");
    assert_eq!(cells(&printer, &json!({"metadata": {"name": "a"}})), json!(["a", null]));
}

#[test]
fn tables_carry_the_lists_metadata_and_what_was_asked_of_objects() {
    let printer = TablePrinter::builtin("", "namespaces");
    let list = json!({
        "metadata": {"resourceVersion": "49804", "continue": "t", "remainingItemCount": 3},
        "items": [{"metadata": {"name": "default", "uid": "u"}, "status": {"phase": "Active"}}],
    });
    let table = printer.print(&list, IncludeObject::Metadata, MetaVersion::V1, now());
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(table["metadata"], list["metadata"]);
    let object = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "default", "uid": "u"}});
    assert_eq!(
        table["rows"],
        json!([{"cells": ["default", "Active", "<unknown>"], "object": object}])
    );
    assert_eq!(
        printer.print(&list, IncludeObject::Object, MetaVersion::V1, now())["rows"][0]["object"],
        list["items"][0]
    );
    let beta = printer.print(&list["items"][0], IncludeObject::Metadata, MetaVersion::V1Beta1, now());
    assert_eq!(beta["rows"][0]["object"]["apiVersion"], "meta.k8s.io/v1beta1");
    assert_eq!(
        printer.table(MetaVersion::V1, None, Vec::new(), false)["columnDefinitions"],
        Value::Null
    );
    assert_eq!(
        printer.table(MetaVersion::V1, None, Vec::new(), true)["rows"],
        json!([])
    );
}

/// As recorded for CustomResourceDefinitions.
#[test]
fn plain_resources_show_their_creation_time() {
    let printer = TablePrinter::builtin("apiextensions.k8s.io", "customresourcedefinitions");
    assert_eq!(printer.columns()[1].name, "Created At");
    assert_eq!(
        printer.table(MetaVersion::V1, None, Vec::new(), true)["rows"],
        Value::Null
    );
    assert_eq!(
        builtin("apiextensions.k8s.io", "customresourcedefinitions", json!({})),
        json!(["x", "2026-11-22T16:58:46Z"])
    );
}

#[test]
fn builtin_resources_have_their_own_columns() {
    assert_eq!(
        builtin(
            "",
            "configmaps",
            json!({"data": {"a": "", "b": ""}, "binaryData": {"c": ""}})
        ),
        json!(["x", 3, "2m29s"])
    );
    assert_eq!(
        builtin("", "secrets", json!({"type": "Opaque", "data": {"a": ""}})),
        json!(["x", "Opaque", 1, "2m29s"])
    );
    assert_eq!(builtin("", "serviceaccounts", json!({})), json!(["x", 0, "2m29s"]));
    assert_eq!(
        builtin(
            "",
            "resourcequotas",
            json!({"status": {
            "hard": {"pods": "4", "limits.cpu": "2", "count/widgets.example.io": 3}, "used": {"pods": "1"}}})
        ),
        json!([
            "x",
            "count/widgets.example.io: 0/3, pods: 1/4",
            "limits.cpu: 0/2",
            "2m29s"
        ])
    );
    assert_eq!(
        builtin(
            "coordination.k8s.io",
            "leases",
            json!({"spec": {"holderIdentity": "me"}})
        ),
        json!(["x", "me", "2m29s"])
    );
    assert_eq!(
        builtin("rbac.authorization.k8s.io", "clusterroles", json!({})),
        json!(["x", "2026-11-22T16:58:46Z"])
    );
    assert_eq!(
        builtin(
            "rbac.authorization.k8s.io",
            "rolebindings",
            json!({
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "User", "name": "u"}, {"kind": "User", "name": "v"}, {"kind": "Group", "name": "g"},
                             {"kind": "ServiceAccount", "namespace": "n", "name": "s"}],
            })
        ),
        json!(["x", "Role/r", "2m29s", "u, v", "g", "n/s"])
    );
    assert_eq!(
        builtin(
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
            json!({"webhooks": [{}, {}]})
        ),
        json!(["x", 2, "2m29s"])
    );
    assert_eq!(
        builtin(
            "admissionregistration.k8s.io",
            "validatingadmissionpolicies",
            json!({"spec": {"validations": [{}]}})
        ),
        json!(["x", 1, "<unset>", "2m29s"])
    );
    assert_eq!(
        builtin(
            "admissionregistration.k8s.io",
            "validatingadmissionpolicybindings",
            json!({"spec": {"policyName": "p", "paramRef": {"name": "a", "namespace": "n"}}})
        ),
        json!(["x", "p", "n/a", "2m29s"])
    );
    assert_eq!(
        builtin(
            "certificates.k8s.io",
            "certificatesigningrequests",
            json!({
            "spec": {"signerName": "s", "username": "u", "expirationSeconds": 3600},
            "status": {"certificate": "abc", "conditions": [{"type": "Approved"}]}})
        ),
        json!(["x", "2m29s", "s", "u", "60m", "Approved,Issued"])
    );
}

#[test]
fn events_of_both_groups_look_alike() {
    let core = json!({"involvedObject": {"kind": "Pod", "name": "p"}, "type": "Normal", "reason": "R", "message": " m\n",
        "source": {"component": "c", "host": "h"}, "count": 4,
        "firstTimestamp": "2026-11-22T16:58:46Z", "lastTimestamp": "2026-11-22T17:01:10Z"});
    let expected = json!(["5s", "Normal", "R", "pod/p", "", "c, h", "m", "2m29s", 4, "x"]);
    assert_eq!(builtin("", "events", core), expected);
    let new = json!({"regarding": {"kind": "Pod", "name": "p"}, "type": "Normal", "reason": "R", "note": "m",
        "reportingController": "c", "reportingInstance": "h", "eventTime": "2026-11-22T16:58:46.000000Z",
        "series": {"count": 4, "lastObservedTime": "2026-11-22T17:01:10.000000Z"}});
    assert_eq!(builtin("events.k8s.io", "events", new), expected);
}

#[test]
fn lists_become_metadata() {
    let list = json!({"kind": "WidgetList", "metadata": {"resourceVersion": "1", "continue": ""}, "items": [{"metadata": {"name": "a"}, "spec": {}}]});
    assert_eq!(
        partial_list(&list, MetaVersion::V1),
        json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "1"},
            "items": [{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}}]})
    );
}
