//! What kcp recorded for the same writes.

use super::*;

/// The schema's part that matters: kcp's Workspace.
fn workspace() -> ObjectType {
    let string = json!({"type": "string"});
    ObjectType::structural(Arc::new(json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "URL": string, "cluster": string,
            "type": {"type": "object", "properties": {"name": string, "path": string}},
        }},
        "status": {"type": "object", "properties": {
            "phase": string,
            "conditions": {"type": "array", "items": {"type": "object", "properties": {"type": string}}},
        }},
    }})))
}

#[test]
fn a_workspace_from_creation_to_ready() {
    let types = workspace();
    let status = FieldSet::of_fields(&[&["status"]]);
    let rest = FieldSet::of_fields(&[&["metadata"], &["spec"]]);
    let main = |manager, now| ManagedCtx {
        manager,
        subresource: "",
        api_version: "tenancy.kcp.io/v1alpha1",
        kind: "Workspace",
        now,
        types: &types,
        reset_fields: Some(&status),
        versions: None,
    };
    let mut object = json!({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": "fresh"},
        "spec": {"type": {"name": "universal", "path": "root"}}});
    update(None, &mut object, &main("golden-client", "2026-11-22T16:57:07Z"));
    // Admission and storage add to metadata after the fields were recorded.
    object["metadata"]["annotations"] = json!({"kcp.io/cluster": "root"});
    object["metadata"]["uid"] = json!("69e56ce7");
    object["status"] = json!({});
    let live = object.clone();
    object["metadata"]["annotations"]["core.kcp.io/shard"] = json!("root");
    object["metadata"]["finalizers"] = json!(["core.kcp.io/logicalcluster"]);
    object["metadata"]["labels"] = json!({"tenancy.kcp.io/phase": "Ready"});
    object["spec"]["URL"] = json!("https://HOST:PORT/clusters/root:fresh");
    object["spec"]["cluster"] = json!("nhsassutqnpzx947");
    update(Some(&live), &mut object, &main("kcp", "2026-11-22T16:57:08Z"));
    let live = object.clone();
    object["status"] = json!({"phase": "Ready", "conditions": [{"type": "WorkspaceInitialized"}]});
    let through = ManagedCtx {
        subresource: "status",
        reset_fields: Some(&rest),
        ..main("kcp", "2026-11-22T16:57:08Z")
    };
    update(Some(&live), &mut object, &through);
    let recorded = json!([
        {
            "apiVersion": "tenancy.kcp.io/v1alpha1", "fieldsType": "FieldsV1", "manager": "golden-client",
            "operation": "Update", "time": "2026-11-22T16:57:07Z",
            "fieldsV1": {"f:spec": {".": {}, "f:type": {".": {}, "f:name": {}, "f:path": {}}}},
        },
        {
            "apiVersion": "tenancy.kcp.io/v1alpha1", "fieldsType": "FieldsV1", "manager": "kcp",
            "operation": "Update", "time": "2026-11-22T16:57:08Z",
            "fieldsV1": {
                "f:metadata": {
                    "f:annotations": {"f:core.kcp.io/shard": {}},
                    "f:finalizers": {".": {}, "v:\"core.kcp.io/logicalcluster\"": {}},
                    "f:labels": {".": {}, "f:tenancy.kcp.io/phase": {}},
                },
                "f:spec": {"f:URL": {}, "f:cluster": {}},
            },
        },
        {
            "apiVersion": "tenancy.kcp.io/v1alpha1", "fieldsType": "FieldsV1", "manager": "kcp",
            "operation": "Update", "subresource": "status", "time": "2026-11-22T16:57:08Z",
            "fieldsV1": {"f:status": {"f:conditions": {}, "f:phase": {}}},
        },
    ]);
    assert_eq!(object["metadata"]["managedFields"], recorded);
}

#[test]
fn conflicts_read_as_recorded() {
    let types = ObjectType::structural(Arc::new(
        json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"colour": {"type": "string", "default": "red"}, "size": {"type": "integer"}}}}}),
    ));
    let ctx = |manager| ManagedCtx {
        api_version: "example.io/v1alpha1",
        kind: "Widget",
        ..ctx(&types, manager, T1)
    };
    let config = |size: u8| json!({"apiVersion": "example.io/v1alpha1", "kind": "Widget", "metadata": {"name": "ssa"}, "spec": {"size": size}});
    let live = apply(None, &config(1), &ctx("a"), false).unwrap();
    let refused = apply(Some(&live), &config(2), &ctx("b"), false).unwrap_err();
    let recorded = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Conflict", "code": 409,
        "message": "Apply failed with 1 conflict: conflict with \"a\": .spec.size",
        "details": {"causes": [
            {"reason": "FieldManagerConflict", "message": "conflict with \"a\"", "field": ".spec.size"},
        ]},
    });
    assert_eq!(refused.to_value(), recorded);

    let mut live = config(1);
    update(None, &mut live, &ctx("a"));
    let refused = apply(Some(&live), &config(2), &ctx("a"), false).unwrap_err();
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"a\" using example.io/v1alpha1: .spec.size"
    );
}
