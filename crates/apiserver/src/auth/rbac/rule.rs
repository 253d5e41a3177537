//! Policy rules.

use permit::Access;
use serde::{Deserialize, Serialize};

/// `rbac.authorization.k8s.io/v1` PolicyRule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    #[serde(default)]
    pub verbs: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    #[serde(default, rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

// === impl Rule ===

impl Rule {
    pub fn allows(&self, access: &Access) -> bool {
        if !has(&self.verbs, &access.verb) {
            return false;
        }
        if !access.is_resource {
            return self.non_resource_urls.iter().any(|url| url_matches(url, &access.path));
        }
        has(&self.api_groups, &access.group)
            && self
                .resources
                .iter()
                .any(|r| resource_matches(r, &access.resource, &access.subresource))
            && (self.resource_names.is_empty() || self.resource_names.contains(&access.name))
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

/// `pods`, `pods/status`, `*/status`, `*`.
fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => subresource.is_empty() && rule == resource,
        Some((of, sub)) => sub == subresource && !subresource.is_empty() && (of == "*" || of == resource),
    }
}

fn url_matches(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => rule == path,
    }
}

/// Whether `owned` together cover everything that `wanted` allows (Kubernetes' `validation.Covers`): each combination of
/// verb, group, resource and name on its own. Answers what is not covered.
pub fn covers(owned: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let singles = wanted.iter().flat_map(break_down);
    singles
        .filter(|single| !owned.iter().any(|rule| covers_single(rule, single)))
        .collect()
}

fn break_down(rule: &Rule) -> Vec<Rule> {
    let mut out = Vec::new();
    for verb in &rule.verbs {
        for url in &rule.non_resource_urls {
            out.push(Rule {
                verbs: vec![verb.clone()],
                non_resource_urls: vec![url.clone()],
                ..Rule::default()
            });
        }
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let single = Rule {
                    verbs: vec![verb.clone()],
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..Rule::default()
                };
                if rule.resource_names.is_empty() {
                    out.push(single);
                    continue;
                }
                let named = |name: &String| Rule {
                    resource_names: vec![name.clone()],
                    ..single.clone()
                };
                out.extend(rule.resource_names.iter().map(named));
            }
        }
    }
    out
}

fn covers_single(owner: &Rule, single: &Rule) -> bool {
    let all = |owned: &[String], wanted: &[String]| wanted.iter().all(|w| has(owned, w));
    if !all(&owner.verbs, &single.verbs) {
        return false;
    }
    if !single.non_resource_urls.is_empty() {
        let covered = |wanted: &String| owner.non_resource_urls.iter().any(|own| url_covers(own, wanted));
        return single.non_resource_urls.iter().all(covered);
    }
    let resources = single.resources.iter().all(|wanted| {
        owner.resources.iter().any(|own| match wanted.split_once('/') {
            None => own == "*" || own == wanted,
            Some((_, sub)) => own == "*" || own == wanted || *own == format!("*/{sub}"),
        })
    });
    let names = owner.resource_names.is_empty()
        || (!single.resource_names.is_empty()
            && single
                .resource_names
                .iter()
                .all(|name| owner.resource_names.contains(name)));
    resources && names && all(&owner.api_groups, &single.api_groups)
}

/// Unlike a path, what is wanted may end in a star itself: that is only covered by a star.
fn url_covers(own: &str, wanted: &str) -> bool {
    own == wanted || own.strip_suffix('*').is_some_and(|prefix| wanted.starts_with(prefix))
}
