//! Which requests are logged, and how much of them: `audit.k8s.io/v1` Policy.

use machinery::user::User;
use serde::Deserialize;

use crate::stage::RequestInfo;

/// How much of a request is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum AuditLevel {
    #[default]
    None,
    /// Everything but the bodies.
    Metadata,
    /// And the request's body.
    Request,
    /// Logged as `Request`: answers are not kept.
    RequestResponse,
}

/// Where in its life a request is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuditStage {
    /// Its sender is known; nothing else is yet.
    RequestReceived,
    /// A stream has begun.
    ResponseStarted,
    ResponseComplete,
}

/// What a policy says of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Treatment<'a> {
    pub level: AuditLevel,
    pub omits: [&'a [String]; 2],
}

/// The first rule that matches a request says its level; without one it is not logged.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditPolicy {
    #[serde(default, rename = "apiVersion")]
    _api_version: String,
    #[serde(default, rename = "kind")]
    _kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: serde_json::Value,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default, rename = "omitManagedFields")]
    _omit_managed_fields: bool,
}

/// Everything that is given must match; what is empty matches all.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: AuditLevel,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default, rename = "omitManagedFields")]
    _omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    /// `pods`, `pods/status`, `pods/*`, `*/status`, `*`.
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

// === impl AuditLevel ===

impl AuditLevel {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request | Self::RequestResponse => "Request",
        }
    }
}

// === impl AuditStage ===

impl AuditStage {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
        }
    }
}

// === impl Treatment ===

impl Treatment<'_> {
    pub fn logs(&self, stage: AuditStage) -> bool {
        self.level > AuditLevel::None && !self.omits.iter().any(|omits| omits.iter().any(|s| s == stage.as_str()))
    }
}

// === impl AuditPolicy ===

impl AuditPolicy {
    /// Everything at this level.
    pub fn everything(level: AuditLevel) -> Self {
        Self {
            rules: vec![Rule {
                level,
                ..Rule::default()
            }],
            ..Self::default()
        }
    }

    /// From a policy file, YAML or JSON. The error is for the operator.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let decoded = machinery::yaml::decode_either(text).map_err(|error| error.to_string())?;
        serde_json::from_value(decoded.value).map_err(|error| format!("audit policy: {error}"))
    }

    pub(crate) fn treatment(&self, user: Option<&User>, info: &RequestInfo<'_>) -> Treatment<'_> {
        let rule = self.rules.iter().find(|rule| rule.matches(user, info));
        rule.map(|rule| Treatment {
            level: rule.level,
            omits: [&self.omit_stages, &rule.omit_stages],
        })
        .unwrap_or_default()
    }
}

// === impl Rule ===

impl Rule {
    fn matches(&self, user: Option<&User>, info: &RequestInfo<'_>) -> bool {
        let any = |of: &[String], test: &dyn Fn(&str) -> bool| of.is_empty() || of.iter().any(|item| test(item));
        let about_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        any(&self.users, &|name| user.is_some_and(|user| user.name == name))
            && any(&self.user_groups, &|group| {
                user.is_some_and(|user| user.in_group(group))
            })
            && any(&self.verbs, &|verb| verb == info.verb)
            && match &info.resource {
                Some(resource) => {
                    (about_resources || self.non_resource_urls.is_empty())
                        && any(&self.namespaces, &|namespace| namespace == resource.namespace)
                        && (self.resources.is_empty() || self.resources.iter().any(|of| of.matches(info)))
                }
                None => !about_resources && any(&self.non_resource_urls, &|url| url_matches(url, info.path)),
            }
    }
}

// === impl GroupResources ===

impl GroupResources {
    fn matches(&self, info: &RequestInfo<'_>) -> bool {
        let Some(resource) = &info.resource else { return false };
        if self.group != resource.group {
            return false;
        }
        let named = self.resource_names.is_empty() || self.resource_names.iter().any(|name| *name == resource.name);
        let listed = |pattern: &String| match pattern.split_once('/') {
            None if pattern == "*" => true,
            None => pattern == resource.resource && resource.subresource.is_empty(),
            Some((of, sub)) => {
                (of == "*" || of == resource.resource) && (sub == "*" || sub == resource.subresource && !sub.is_empty())
            }
        };
        named && (self.resources.is_empty() || self.resources.iter().any(listed))
    }
}

fn url_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Query;

    fn level(policy: &AuditPolicy, user: &str, method: &http::Method, path: &str) -> AuditLevel {
        let user = User::new(user, &["people"]);
        let info = RequestInfo::parse(method, path, &Query::default()).unwrap();
        policy.treatment(Some(&user), &info).level
    }

    #[test]
    fn stages_may_be_left_out() {
        let policy = b"omitStages: [RequestReceived]\nrules:\n\
            - {level: Metadata, verbs: [get], omitStages: [ResponseComplete]}\n- {level: Metadata}\n";
        let policy = AuditPolicy::parse(policy).unwrap();
        let query = Query::default();
        let logged = |method: &http::Method| {
            let info = RequestInfo::parse(method, "/api/v1/namespaces/a", &query).unwrap();
            let treatment = policy.treatment(None, &info);
            [AuditStage::RequestReceived, AuditStage::ResponseComplete].map(|stage| treatment.logs(stage))
        };
        assert_eq!(logged(&http::Method::GET), [false, false]);
        assert_eq!(logged(&http::Method::DELETE), [false, true]);
    }

    #[test]
    fn first_matching_rule_decides() {
        let policy = b"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n\
            - {level: None, users: [quiet]}\n\
            - {level: None, nonResourceURLs: ['/healthz*']}\n\
            - {level: Metadata, resources: [{group: '', resources: [secrets]}]}\n\
            - {level: Request, verbs: [create], userGroups: [people]}\n\
            - {level: Metadata, resources: [{group: g.io, resources: ['*/status'], resourceNames: [w]}]}\n";
        let policy = AuditPolicy::parse(policy).unwrap();
        let (get, post) = (http::Method::GET, http::Method::POST);
        assert_eq!(level(&policy, "quiet", &post, "/api/v1/namespaces"), AuditLevel::None);
        assert_eq!(level(&policy, "u", &get, "/healthz/ping"), AuditLevel::None);
        assert_eq!(
            level(&policy, "u", &post, "/api/v1/namespaces/a/secrets"),
            AuditLevel::Metadata
        );
        assert_eq!(
            level(&policy, "u", &post, "/api/v1/namespaces/a/configmaps"),
            AuditLevel::Request
        );
        assert_eq!(
            level(&policy, "u", &get, "/apis/g.io/v1/widgets/w/status"),
            AuditLevel::Metadata
        );
        assert_eq!(level(&policy, "u", &get, "/apis/g.io/v1/widgets/w"), AuditLevel::None);
        assert_eq!(level(&policy, "u", &get, "/version"), AuditLevel::None);
    }

    #[test]
    fn refuses_a_policy_it_does_not_understand() {
        assert!(AuditPolicy::parse(b"rules: [{level: Sometimes}]").is_err());
        assert!(AuditPolicy::parse(b"rulez: []").is_err());
    }
}
