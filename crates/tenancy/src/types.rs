//! Workspace types: inheritance, limits on parents and children, initializers (kcp's facts, A.4 and D.2).

use std::fmt;
use std::sync::Arc;

use api::keys;
use machinery::object::ObjectExt;
use permit::Cluster;
use serde_json::Value;

/// A reference to a type, as it stands in `spec.type`: path (may be empty) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeRef {
    pub path: String,
    pub name: String,
}

/// Where types come from.
pub trait TypeSource {
    /// By the path or name of its cluster.
    fn workspace_type(&self, path: &str, name: &str) -> Option<Arc<Value>>;
}

// === impl TypeRef ===

impl TypeRef {
    pub fn new(path: &str, name: &str) -> Self {
        Self {
            path: path.to_owned(),
            name: name.to_owned(),
        }
    }

    /// From `{path, name}`.
    pub fn read(value: Option<&Value>) -> Option<Self> {
        let member = |key: &str| value?.get(key)?.as_str();
        Some(Self::new(member("path").unwrap_or_default(), member("name")?))
    }

    /// From the annotation `internal.tenancy.kcp.io/type`: `<path>:<name>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, name) = text.rsplit_once(':')?;
        Some(Self::new(path, name))
    }

    /// The type that an object is: its canonical path and name.
    pub fn of(object: &Value) -> Self {
        Self::new(path_of(object), object.name())
    }
}

impl fmt::Display for TypeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}:{}", self.path, self.name)
        }
    }
}

/// The canonical path of the cluster that holds the object; its name where no path is recorded.
pub fn path_of(object: &Value) -> &str {
    let path = object.annotation(keys::annotation::PATH).filter(|p| !p.is_empty());
    path.or_else(|| object.annotation(keys::annotation::CLUSTER))
        .unwrap_or_default()
}

/// The type and all that it extends, transitively: depth first over `extend.with`, the type itself last. That is also the
/// order of initializers. Errors are texts for the client.
pub fn aliases(source: &dyn TypeSource, concrete: &Arc<Value>) -> Result<Vec<Arc<Value>>, String> {
    let mut found: Vec<Arc<Value>> = Vec::new();
    let mut stack: Vec<TypeRef> = Vec::new();
    visit(source, concrete, &mut stack, &mut found)?;
    Ok(found)
}

fn visit(
    source: &dyn TypeSource,
    object: &Arc<Value>,
    stack: &mut Vec<TypeRef>,
    found: &mut Vec<Arc<Value>>,
) -> Result<(), String> {
    let this = TypeRef::of(object);
    if found.iter().any(|seen| TypeRef::of(seen) == this) {
        return Ok(());
    }
    if stack.contains(&this) {
        let mut names: Vec<String> = stack.iter().map(TypeRef::to_string).collect();
        names.push(this.to_string());
        return Err(format!(
            "circular dependency detected in workspace type {this}: {}",
            names.join(" -> ")
        ));
    }
    stack.push(this.clone());
    for reference in object
        .at(&["spec", "extend", "with"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let Some(mut base) = TypeRef::read(Some(reference)) else {
            continue;
        };
        if base.path.is_empty() {
            base.path.clone_from(&this.path);
        }
        let Some(base_object) = source.workspace_type(&base.path, &base.name) else {
            return Err(format!("unable to find inherited workspace type {base}"));
        };
        visit(source, &base_object, stack, found)?;
    }
    stack.pop();
    found.push(Arc::clone(object));
    Ok(())
}

/// `spec.initializers` of a LogicalCluster of this type: the aliases' own, then `system:apibindings` if any alias has
/// default bindings.
pub fn initializers(aliases: &[Arc<Value>]) -> Vec<String> {
    let mut out = lifecycle(aliases, "initializer");
    let has_bindings = aliases.iter().any(|alias| {
        alias
            .at(&["spec", "defaultAPIBindings"])
            .and_then(Value::as_array)
            .is_some_and(|b| !b.is_empty())
    });
    if has_bindings {
        out.push(keys::initializer::API_BINDINGS.to_owned());
    }
    out
}

pub fn terminators(aliases: &[Arc<Value>]) -> Vec<String> {
    lifecycle(aliases, "terminator")
}

/// `<cluster name of the type>:<type name>` of each alias that sets the flag.
fn lifecycle(aliases: &[Arc<Value>], flag: &str) -> Vec<String> {
    aliases
        .iter()
        .filter(|alias| alias.at(&["spec", flag]).and_then(Value::as_bool) == Some(true))
        .map(|alias| {
            let cluster = alias.annotation(keys::annotation::CLUSTER).unwrap_or_default();
            format!("{cluster}:{}", alias.name())
        })
        .collect()
}

/// Whether a workspace of type `child` may stand below one of type `parent`; both with all their aliases.
pub fn check_limits(parent: &[Arc<Value>], child: &[Arc<Value>]) -> Result<(), String> {
    check_side(child, parent, Side::Parents)?;
    check_side(parent, child, Side::Children)
}

#[derive(Clone, Copy)]
enum Side {
    Parents,
    Children,
}

/// Checks the limits that the aliases in `limiting` put on `other`.
fn check_side(limiting: &[Arc<Value>], other: &[Arc<Value>], side: Side) -> Result<(), String> {
    let (field, word) = match side {
        Side::Parents => ("limitAllowedParents", "parent"),
        Side::Children => ("limitAllowedChildren", "child"),
    };
    let (Some(concrete), Some(other_concrete)) = (limiting.last(), other.last()) else {
        return Ok(());
    };
    let concrete = TypeRef::of(concrete);
    let mut errors = Vec::new();
    for alias in limiting {
        let Some(limit) = alias.at(&["spec", field]) else {
            continue;
        };
        let this = TypeRef::of(alias);
        let who = if this == concrete {
            this.to_string()
        } else {
            format!("{concrete} extends {this}, which")
        };
        if limit.get("none").and_then(Value::as_bool) == Some(true) {
            errors.push(format!("workspace type {concrete} cannot have any {word}"));
            continue;
        }
        let allowed: Vec<TypeRef> = limit
            .get("types")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|t| TypeRef::read(Some(t)))
            .collect();
        if allowed.is_empty() || other.iter().any(|o| allowed.contains(&TypeRef::of(o))) {
            continue;
        }
        errors.push(format!(
            "workspace type {who} only allows {} {word} workspaces, but {word} type {} only implements {}",
            list(&allowed),
            TypeRef::of(other_concrete),
            list(&concrete_first(other)),
        ));
    }
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

/// Sorted, as kcp prints sets.
fn concrete_first(aliases: &[Arc<Value>]) -> Vec<TypeRef> {
    let mut refs: Vec<TypeRef> = aliases.iter().map(|alias| TypeRef::of(alias)).collect();
    refs.sort();
    refs
}

fn list(refs: &[TypeRef]) -> String {
    let texts: Vec<String> = refs.iter().map(TypeRef::to_string).collect();
    format!("[{}]", texts.join(" "))
}

/// A default binding of a type: the path of the export's cluster (the type's own where the type names none) and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultBinding {
    pub path: String,
    pub export: String,
    /// The alias keeps its bindings for the workspace's whole life.
    pub maintained: bool,
}

/// Default bindings of all aliases, each export once.
pub fn default_bindings(aliases: &[Arc<Value>]) -> Vec<DefaultBinding> {
    let mut out: Vec<DefaultBinding> = Vec::new();
    for alias in aliases {
        let maintained = alias.str_at(&["spec", "defaultAPIBindingLifecycle"]) == Some("Maintain");
        let own = alias.annotation(keys::annotation::CLUSTER).unwrap_or_default();
        for binding in alias
            .at(&["spec", "defaultAPIBindings"])
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let Some(export) = binding.get("export").and_then(Value::as_str) else {
                continue;
            };
            let path = binding
                .get("path")
                .and_then(Value::as_str)
                .filter(|p| !p.is_empty())
                .unwrap_or(own);
            match out.iter_mut().find(|b| b.path == path && b.export == export) {
                Some(known) => known.maintained |= maintained,
                None => out.push(DefaultBinding {
                    path: path.to_owned(),
                    export: export.to_owned(),
                    maintained,
                }),
            }
        }
    }
    out
}

/// The cluster that a type lives in.
pub fn cluster_of(object: &Value) -> Option<Cluster> {
    Cluster::parse(object.annotation(keys::annotation::CLUSTER)?).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    struct Types(BTreeMap<TypeRef, Arc<Value>>);

    impl TypeSource for Types {
        fn workspace_type(&self, path: &str, name: &str) -> Option<Arc<Value>> {
            self.0.get(&TypeRef::new(path, name)).cloned()
        }
    }

    fn shipped(name: &str, spec: Value) -> Arc<Value> {
        Arc::new(
            json!({"metadata": {"name": name, "annotations": {"kcp.io/path": "root", "kcp.io/cluster": "root"}}, "spec": spec}),
        )
    }

    fn types() -> Types {
        let universal =
            json!({"initializer": true, "defaultAPIBindings": [{"path": "root", "export": "tenancy.kcp.io"}]});
        let extends = json!({"with": [{"name": "universal", "path": "root"}]});
        let organization = json!({
            "extend": extends,
            "limitAllowedChildren": {"types": [{"name": "universal", "path": "root"}]},
            "limitAllowedParents": {"types": [{"name": "root", "path": "root"}]},
        });
        let team = json!({"extend": extends, "limitAllowedParents": {"types": [
            {"name": "organization", "path": "root"}, {"name": "team", "path": "root"}]}});
        let all = [
            ("universal", universal),
            (
                "root",
                json!({"extend": extends, "limitAllowedParents": {"none": true}}),
            ),
            ("organization", organization),
            ("team", team),
        ];
        Types(
            all.into_iter()
                .map(|(n, spec)| (TypeRef::new("root", n), shipped(n, spec)))
                .collect(),
        )
    }

    fn resolved(types: &Types, name: &str) -> Vec<Arc<Value>> {
        aliases(types, &types.0[&TypeRef::new("root", name)]).unwrap()
    }

    #[test]
    fn aliases_end_with_the_type_itself() {
        let types = types();
        let names: Vec<String> = resolved(&types, "team").iter().map(|t| t.name().to_owned()).collect();
        assert_eq!(names, ["universal", "team"]);
        assert_eq!(
            initializers(&resolved(&types, "team")),
            ["root:universal", "system:apibindings"]
        );
    }

    #[test]
    fn limits_speak_as_kcp_does() {
        let types = types();
        let check = |p: &str, c: &str| check_limits(&resolved(&types, p), &resolved(&types, c));
        assert_eq!(check("organization", "team"), Ok(()));
        assert_eq!(
            check("root", "team").unwrap_err(),
            "workspace type root:team only allows [root:organization root:team] parent workspaces, \
             but parent type root:root only implements [root:root root:universal]"
        );
        assert_eq!(
            check("organization", "root").unwrap_err(),
            "workspace type root:root cannot have any parent"
        );
    }

    #[test]
    fn circles_are_named() {
        let a = shipped("a", json!({"extend": {"with": [{"name": "b"}]}}));
        let b = shipped("b", json!({"extend": {"with": [{"name": "a"}]}}));
        let types = Types([(TypeRef::new("root", "a"), a.clone()), (TypeRef::new("root", "b"), b)].into());
        assert_eq!(
            aliases(&types, &a).unwrap_err(),
            "circular dependency detected in workspace type root:a: root:a -> root:b -> root:a"
        );
    }
}
