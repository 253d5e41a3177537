//! What a process that has virtual workspaces says, with a request for objects, of whom it makes it for: one header.
//!
//! The view has decided who may do what; the shard applies it as if the view were inside: the user is who acts, the selector
//! narrows every object that is touched. A component could do all that as itself, so the header gives away nothing; from
//! anybody else it is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, HeaderValue};
use machinery::selector::LabelSelector;
use machinery::user::User;
use serde_json::{Value, json};

use crate::wire;

/// Front-proxies take everything off that begins so.
pub const DELEGATION_HEADER: HeaderName = HeaderName::from_static("x-kcp-fabric-delegation");

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Delegation {
    /// Who acts.
    pub user: User,
    /// The view has decided that the user may: its own authorizer does not ask again. Otherwise the shard decides.
    pub decided: bool,
    /// Whether what turns out not to be there may be made (an apply).
    pub creates: bool,
    /// Labels of what may be touched; others are not there.
    pub selector: LabelSelector,
    /// Which definition the name of the resource means: empty, the cluster's own.
    pub definition: DelegatedDefinition,
    /// Whose share of the seats the request takes.
    pub flow: String,
}

/// Which definition a resource's name means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DelegatedDefinition {
    /// Whatever the cluster has under that name.
    #[default]
    Own,
    /// What every cluster has.
    Common,
    Identity(String),
    Schema {
        cluster: String,
        schema: String,
        identity: String,
    },
}

// === impl Delegation ===

impl Delegation {
    pub fn encode(&self) -> HeaderValue {
        let definition = match &self.definition {
            DelegatedDefinition::Own => json!(null),
            DelegatedDefinition::Common => json!({}),
            DelegatedDefinition::Identity(identity) => json!({ "identity": identity }),
            DelegatedDefinition::Schema {
                cluster,
                schema,
                identity,
            } => json!({ "identity": identity, "cluster": cluster, "schema": schema }),
        };
        let value = json!({
            "user": self.user, "decided": self.decided, "creates": self.creates, "selector": self.requirements(),
            "definition": definition, "flow": self.flow,
        });
        let text = URL_SAFE_NO_PAD.encode(value.to_string());
        // The alphabet is a header's.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// In their order: watches wait at the last one. `None`: nothing is selected.
    fn requirements(&self) -> Option<Vec<String>> {
        let requirements = self.selector.requirements().iter().map(ToString::to_string);
        (!self.selector.is_nothing()).then(|| requirements.collect())
    }

    /// `None`: it is none. What is missing is not taken for anything.
    pub fn decode(header: &HeaderValue) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(header.as_bytes()).ok()?;
        let value: Value = serde_json::from_slice(&bytes).ok()?;
        let flag = |name: &str| value.get(name).and_then(Value::as_bool);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let definition = match value.get("definition")? {
            Value::Null => DelegatedDefinition::Own,
            given => {
                let member = |name: &str| given.get(name).and_then(text);
                match (member("identity"), member("cluster"), member("schema")) {
                    (None, None, None) => DelegatedDefinition::Common,
                    (Some(identity), None, None) => DelegatedDefinition::Identity(identity),
                    (Some(identity), Some(cluster), Some(schema)) => DelegatedDefinition::Schema {
                        cluster,
                        schema,
                        identity,
                    },
                    _ => return None,
                }
            }
        };
        Some(Self {
            user: serde_json::from_value(value.get("user")?.clone()).ok()?,
            decided: flag("decided")?,
            creates: flag("creates")?,
            selector: match value.get("selector")? {
                Value::Null => LabelSelector::nothing(),
                selector => read_selector(selector)?,
            },
            definition,
            flow: text(value.get("flow")?)?,
        })
    }
}

fn read_selector(requirements: &Value) -> Option<LabelSelector> {
    let mut all = Vec::new();
    for text in requirements.as_array()? {
        let one = LabelSelector::parse(text.as_str()?).ok()?;
        all.extend(one.requirements().iter().cloned());
    }
    Some(LabelSelector::of(all))
}

/// A user, as it is told.
pub fn sender(user: &User) -> wire::Sender {
    let extra = user.extra.iter().map(|(key, values)| wire::SenderExtra {
        key: key.clone(),
        values: values.clone(),
    });
    wire::Sender {
        name: user.name.clone(),
        uid: user.uid.clone(),
        groups: user.groups.clone(),
        extra: extra.collect(),
    }
}

/// The user that was told.
pub fn user(sender: wire::Sender) -> User {
    let extra = sender.extra.into_iter().map(|extra| (extra.key, extra.values));
    User {
        name: sender.name,
        uid: sender.uid,
        groups: sender.groups,
        extra: extra.collect(),
    }
}

#[cfg(test)]
mod tests {
    use machinery::selector::{Operator, Requirement};

    use super::*;

    #[test]
    fn a_delegation_is_read_as_it_was_said() {
        let mut user = User::new("alice", &["a", "b"]);
        user.extra.insert("scopes".to_owned(), vec!["x".to_owned()]);
        for definition in [
            DelegatedDefinition::Own,
            DelegatedDefinition::Common,
            DelegatedDefinition::Identity("h".to_owned()),
            DelegatedDefinition::Schema {
                cluster: "c".to_owned(),
                schema: "s".to_owned(),
                identity: "h".to_owned(),
            },
        ] {
            let said = Delegation {
                user: user.clone(),
                decided: true,
                creates: false,
                selector: LabelSelector::of(vec![
                    Requirement::equals("z.io/phase", "Initializing"),
                    Requirement::new("a", Operator::In, vec!["b".to_owned(), "c".to_owned()]),
                ]),
                definition,
                flow: "f".to_owned(),
            };
            assert_eq!(Delegation::decode(&said.encode()), Some(said));
        }
        let nothing = Delegation {
            user: User::anonymous(),
            decided: false,
            creates: true,
            selector: LabelSelector::nothing(),
            definition: DelegatedDefinition::Own,
            flow: String::new(),
        };
        assert_eq!(Delegation::decode(&nothing.encode()), Some(nothing));
    }

    #[test]
    fn half_a_delegation_is_none() {
        for text in ["", "{}", r#"{"user":{},"decided":true}"#] {
            let header = HeaderValue::try_from(URL_SAFE_NO_PAD.encode(text)).unwrap();
            assert_eq!(Delegation::decode(&header), None, "{text}");
        }
        assert_eq!(Delegation::decode(&HeaderValue::from_static("%")), None);
    }
}
